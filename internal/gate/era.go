package gate

import "errors"

// A reset ends an era of the gate (Shut), and what was sent in it is dropped. A
// sender finds out that its object has not been reset before it calls Send, and
// a reset may come in between and have opened the gate again. So a sender names
// the era in which it sends.

// ErrPast is the result of [Gate.SendIn], and the argument of its send
// function, if the era is over.
var ErrPast = errors.New("the object has been reset")

// every stands for all eras.
const every = 1<<64 - 1

// Era returns the present era. A sender calls it before it finds out that its
// object has not been reset.
func (g *Gate) Era() uint64 {
	if g == nil {
		return 0
	}
	return g.era.Load()
}

// isIn reports whether an era lasts.
func (g *Gate) isIn(era uint64) bool { return era == every || g.era.Load() == era }

// OpenIn reports whether output of an era is sent at once. A reset that comes
// later may overtake such output, which depends on nothing that the reset
// undoes.
func (g *Gate) OpenIn(era uint64) bool {
	// In this order: if the era still lasts, no reset has opened the gate.
	return g.Open() && g.Era() == era
}

// SendIn is Send for output of an era. If that is over, the output is dropped:
// send gets ErrPast, and SendIn returns it.
func (g *Gate) SendIn(era uint64, send func(error)) error {
	_, err := g.hold(entry{send: send}, era)
	return err
}
