//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

const (
	// senders is how many sockets take turns in sending fan-outs.
	senders = 32
	// ring bounds the distance between the oldest message that has not arrived
	// everywhere and the newest.
	ring = 1 << 14
)

// A flight is a message on its way to all sockets.
type flight struct {
	since   time.Duration
	arrived int32
}

// A fanout sends messages to all sockets and sees them arrive.
type fanout struct {
	*loop
	payload []byte
	flights []flight
	seq     uint64 // of the next message
	first   uint64 // of the messages that count
	sum     uint64 // of their numbers
	open    int    // messages under way
	all     int32
	landed  func() // called when a message has arrived everywhere; may be nil

	arrived      int64           // messages at sockets
	median, last []time.Duration // latencies of the messages that count
}

func newFanout(l *loop, size int) *fanout {
	f := &fanout{loop: l, payload: make([]byte, size), flights: make([]flight, ring), all: int32(len(l.sockets))}
	for i := wire.MinMessage; i < size; i++ {
		f.payload[i] = byte(i)
	}
	l.message = f.arrive
	return f
}

// begin forgets what has been sent so far. Nothing may be under way.
func (f *fanout) begin() {
	f.first, f.sum, f.arrived = f.seq, 0, 0
	f.median, f.last = f.median[:0], f.last[:0]
	for _, s := range f.sockets {
		s.got, s.sum = 0, 0
	}
}

// launch sends the next message, which is late by what the loop was held up
// since it was due.
func (f *fanout) launch(due time.Duration) {
	flight := &f.flights[f.seq%ring]
	if flight.arrived != 0 {
		f.failed = fmt.Errorf("%d messages were sent after one that has not arrived everywhere", ring)
		return
	}
	flight.since = due
	wire.PutMessage(f.payload, wire.FanOut, f.seq)
	from := int(f.seq%senders) * len(f.sockets) / senders
	f.sum += f.seq
	f.seq++
	f.open++
	f.ask(f.sockets[from], f.payload)
}

func (f *fanout) arrive(s *socket, message []byte) {
	if len(message) != len(f.payload) || message[0] != wire.FanOut {
		f.failed = fmt.Errorf("a message of %d bytes arrived that was not sent", len(message))
		return
	}
	seq := wire.Seq(message)
	s.got++
	s.sum += seq
	f.arrived++
	flight := &f.flights[seq%ring]
	flight.arrived++
	if flight.arrived == (f.all+1)/2 {
		f.median = append(f.median, f.now-flight.since)
	}
	if flight.arrived == f.all {
		f.last = append(f.last, f.now-flight.since)
		flight.arrived = 0
		f.open--
		if f.landed != nil {
			f.landed()
		}
	}
}

// window keeps a number of messages under way for a time, but for at least so
// many messages, and waits for the last.
func (f *fanout) window(under int, atLeast time.Duration, messages uint64) error {
	f.clock()
	begun, until := f.seq, f.now+atLeast
	f.landed = func() {
		if f.now < until || f.seq-begun < messages {
			f.launch(f.now)
		}
	}
	for range under {
		f.launch(f.now)
	}
	return f.land()
}

// pace sends a number of messages at a fixed rate, whatever becomes of them,
// and waits for the last.
func (f *fanout) pace(rate float64, messages uint64) error {
	f.landed = nil
	stop := f.seq + messages
	err := f.every(time.Duration(float64(time.Second)/rate), func() {
		if f.seq < stop {
			f.launch(f.due)
		} else {
			f.tick = nil
		}
	})
	if err != nil {
		return err
	}
	for f.tick != nil {
		if err := f.turn(time.Second); err != nil {
			return err
		}
	}
	if err := f.never(); err != nil {
		return err
	}
	return f.land()
}

// land waits until nothing is under way.
func (f *fanout) land() error {
	seen, since := f.arrived, f.now
	for f.open > 0 {
		if err := f.turn(time.Second); err != nil {
			return err
		}
		if f.arrived != seen {
			seen, since = f.arrived, f.now
		}
		if f.now-since > f.patience {
			return fmt.Errorf("nothing arrived for %v with %d messages under way", f.patience, f.open)
		}
	}
	return nil
}

// account returns how many messages were sent since begin, how many deliveries
// they led to, and how many are missing; err states what else a socket got.
func (f *fanout) account() (sent, deliveries, lost int64, err error) {
	sent = int64(f.seq - f.first)
	for i, s := range f.sockets {
		deliveries += s.got
		lost += max(sent-s.got, 0)
		if s.got > sent || s.got == sent && s.sum != f.sum {
			err = fmt.Errorf("socket %d got %d messages, some of them twice", i, s.got)
		}
	}
	return sent, deliveries, lost, err
}
