package drive

import (
	"crypto/rand"
	"time"
)

// Command returns the body of a command for a device, which is new each time.
func Command() []byte { return []byte(rand.Text() + rand.Text() + rand.Text() + rand.Text()[:22]) }

// Handshakes is how many devices connect at a time.
const Handshakes = 64

// Drain lets devices with a command each come back: connect connects the i-th,
// which carries out its command. It returns how long it takes until waiting,
// which is asked again and again, returns that no command waits.
func Drain(devices int, connect func(i int) error, waiting func() (int, error)) (Figures, error) {
	began := time.Now()
	if err := Fill(devices, Handshakes, connect); err != nil {
		return nil, err
	}
	for {
		n, err := waiting()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return Figures{Seconds: time.Since(began).Seconds()}, nil
		}
		time.Sleep(time.Millisecond)
	}
}
