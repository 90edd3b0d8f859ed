//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/godurable/dog/bench/internal/wire"
)

func (c cell) measure(l *loop, emit func(wire.Result) error) error {
	switch c.kind {
	case "w":
		return c.measureWindow(l, emit)
	case "echo":
		return c.measureEcho(l, emit)
	case "rooms":
		return c.measureRooms(l, emit)
	case "rate":
		return c.measureRate(newFanout(l, c.size), emit, c.name, 1)
	}
	return c.measureSlow(l, emit)
}

func (c cell) measureWindow(l *loop, emit func(wire.Result) error) error {
	f := newFanout(l, c.size)
	err := f.window((c.n+3)/4, *measure/4, 0)
	return c.record(f, emit, c.name, err, func() error { return f.window(c.n, *measure, uint64(c.n)+*atLeast) })
}

// measureRate sends at the cell's rate; the warm-up takes so many times -time.
func (c cell) measureRate(f *fanout, emit func(wire.Result) error, name string, warm float64) error {
	messages := max(uint64(c.rate*measure.Seconds()), *atLeast)
	err := f.pace(c.rate, uint64(float64(messages)*warm))
	return c.record(f, emit, name, err, func() error { return f.pace(c.rate, messages) })
}

// measureSlow measures the cell's rate, then once more when 1 % further sockets
// have joined and stopped reading.
func (c cell) measureSlow(l *loop, emit func(wire.Result) error) error {
	f := newFanout(l, c.size)
	if err := c.measureRate(f, emit, c.name+"/none", 0.2); err != nil || f.failed != nil || f.closed > 0 {
		return err
	}
	slow := max(len(l.sockets)/100, 1)
	for i := range slow {
		if _, _, err := l.dial(len(l.sockets)+i, true); err != nil {
			return fmt.Errorf("slow socket: %w", err)
		}
	}
	if err := joined(len(l.sockets) + slow); err != nil {
		return err
	}
	return c.measureRate(f, func(r wire.Result) error {
		s, err := stat(false)
		if err != nil {
			return err
		}
		r.SlowOpen = float64(s.Sockets-len(l.sockets)) / float64(slow)
		return emit(r)
	}, c.name+"/slow", 2)
}

// record measures what run does to a warm server; cold is what went wrong when
// it was warmed up.
func (c cell) record(f *fanout, emit func(wire.Result) error, name string, cold error, run func() error) error {
	r := wire.Result{Cell: name, Sockets: len(f.sockets)}
	if cold != nil {
		_, _, r.Lost, _ = f.account()
		r.Err = "warming up: " + cold.Error()
		return emit(r)
	}
	f.begin()
	before, err := sample()
	if err != nil {
		return err
	}
	failed := run()
	after, err := sample()
	if err != nil {
		return err
	}
	after.since(before, &r)
	var miscounted error
	r.Messages, r.Deliveries, r.Lost, miscounted = f.account()
	r.Median, r.Last = wire.QuantilesOf(f.median), wire.QuantilesOf(f.last)
	for _, err := range []error{failed, miscounted} {
		if err != nil && r.Err == "" {
			r.Err = err.Error()
		}
	}
	if failed != nil && f.failed == nil {
		f.failed = failed
	}
	return emit(r)
}

// measureEcho has each socket send the next message when the one before has
// come back.
func (c cell) measureEcho(l *loop, emit func(wire.Result) error) error {
	payload := make([]byte, c.size)
	var until time.Duration
	var seq uint64
	var sent, back int64
	ask := func(s *socket) {
		wire.PutMessage(payload, wire.Echo, seq)
		s.sum = seq
		seq++
		sent++
		l.ask(s, payload)
	}
	l.message = func(s *socket, message []byte) {
		if len(message) != c.size || message[0] != wire.Echo || wire.Seq(message) != s.sum {
			l.failed = fmt.Errorf("a message came back that was not the one sent")
			return
		}
		back++
		if l.now < until {
			ask(s)
		}
	}
	rounds := func(d time.Duration) error {
		l.clock()
		sent, back = 0, 0
		until = l.now + d
		for _, s := range l.sockets {
			ask(s)
		}
		seen, since := back, l.now
		for back < sent {
			if err := l.turn(time.Second); err != nil {
				return err
			}
			if back != seen {
				seen, since = back, l.now
			}
			if l.now-since > l.patience {
				return fmt.Errorf("nothing came back for %v", l.patience)
			}
		}
		return nil
	}
	r := wire.Result{Cell: c.name, Sockets: len(l.sockets)}
	failed := rounds(*measure / 4)
	if failed == nil {
		before, err := sample()
		if err != nil {
			return err
		}
		failed = rounds(*measure)
		after, err := sample()
		if err != nil {
			return err
		}
		after.since(before, &r)
	}
	r.Messages, r.Deliveries, r.Lost = sent, back, sent-back
	if failed != nil {
		r.Err = failed.Error()
		l.failed = failed
	}
	return emit(r)
}

// A reading is what has been used up to a moment.
type reading struct {
	at     time.Time
	server wire.Stat
	load   float64 // µs of CPU
}

func sample() (r reading, err error) {
	if r.server, err = stat(false); err != nil {
		return reading{}, err
	}
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return reading{}, err
	}
	r.load = float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
	r.at = time.Now()
	return r, nil
}

func (r reading) since(before reading, to *wire.Result) {
	to.Seconds = r.at.Sub(before.at).Seconds()
	to.ServerCPU = r.server.CPU - before.server.CPU
	to.LoadCPU = r.load - before.load
	to.RSS = r.server.RSS
}

func stat(collect bool) (s wire.Stat, err error) {
	if collect {
		return statOf("?gc=1")
	}
	return statOf("")
}

func statOf(query string) (s wire.Stat, err error) {
	url := "http://" + *statAddr + "/stat" + query
	resp, err := http.Get(url)
	if err != nil {
		return wire.Stat{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return wire.Stat{}, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// joined waits until the server counts n sockets: with most libraries a client
// is connected before it is among those that get messages.
func joined(n int) error {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s, err := stat(false)
		if err != nil || s.Sockets == n {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server counts %d sockets, not %d", s.Sockets, n)
		}
	}
}
