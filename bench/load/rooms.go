//go:build linux

package main

import (
	"fmt"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

// roomSize is how many sockets share a room.
const roomSize = 2

// measureRooms has each socket send the next message to its room when everybody
// there has the one before.
func (c cell) measureRooms(l *loop, emit func(wire.Result) error) error {
	n := uint64(len(l.sockets))
	payload := make([]byte, c.size)
	next := make([]uint64, n)            // number of the message of each socket that is under way
	missing := make([][roomSize]bool, n) // who has yet to get it
	var until time.Duration
	var sent, arrived, landed int64
	ask := func(s *socket) {
		wire.PutMessage(payload, wire.FanOut, next[s.index]*n+uint64(s.index))
		for i := range missing[s.index] {
			missing[s.index][i] = true
		}
		sent++
		l.ask(s, payload)
	}
	l.message = func(s *socket, message []byte) {
		if len(message) != c.size || message[0] != wire.FanOut {
			l.failed = fmt.Errorf("a message arrived that was not sent")
			return
		}
		number, from := wire.Seq(message)/n, int(wire.Seq(message)%n)
		left := &missing[from]
		if from/roomSize != s.index/roomSize || number != next[from] || !left[s.index%roomSize] {
			l.failed = fmt.Errorf(
				"message %d of socket %d arrived at socket %d, in another room or twice", number, from, s.index,
			)
			return
		}
		left[s.index%roomSize] = false
		arrived++
		if *left != [roomSize]bool{} {
			return
		}
		landed++
		next[from]++
		if l.now < until {
			ask(l.sockets[from])
		}
	}
	talk := func(d time.Duration) error {
		l.clock()
		sent, arrived, landed = 0, 0, 0
		until = l.now + d
		for _, s := range l.sockets {
			ask(s)
		}
		seen, since := arrived, l.now
		for landed < sent {
			if err := l.turn(time.Second); err != nil {
				return err
			}
			if arrived != seen {
				seen, since = arrived, l.now
			}
			if l.now-since > l.patience {
				return fmt.Errorf("nothing arrived for %v", l.patience)
			}
		}
		return nil
	}
	r := wire.Result{Cell: c.name, Sockets: len(l.sockets)}
	failed := talk(*measure / 4)
	if failed == nil {
		before, err := sample()
		if err != nil {
			return err
		}
		failed = talk(*measure)
		after, err := sample()
		if err != nil {
			return err
		}
		after.since(before, &r)
	}
	r.Messages, r.Deliveries, r.Lost = sent, arrived, roomSize*sent-arrived
	if failed != nil {
		r.Err = failed.Error()
		l.failed = failed
	}
	return emit(r)
}
