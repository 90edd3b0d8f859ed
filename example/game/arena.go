package main

import (
	"bytes"
	"context"
	"time"

	"github.com/godurable/dog"
)

const (
	seats = 4
	side  = 40               // squares along each edge of the field
	tick  = time.Second / 20 // time between two steps
	grace = 5 * time.Second  // how long a player who has left keeps the seat
	match = 60 * 20          // ticks of a match
	ready = 2                // minimum number of players in a match
	pause = 20 * 3           // ticks before a match, in which more players can come
)

// Arena is one game of up to four players. They walk over the field, and a
// square belongs to the player who was there last.
type Arena struct {
	dog.Replica
	seats [seats]*player // nil: free
	field [side * side]byte
	ticks int        // of the match; below 0 before it
	loop  *dog.Timer // nil if there are no players
}

// player has a seat. The group holds a place for a player who has left, and the
// arena keeps the seat for as long. The exported fields are sent to all.
type player struct {
	Seat, X, Y, Points int
	UID                string
	Gone               bool

	dx, dy int
	left   time.Time // when the player left
}

// OnOpen seats a player, in the old seat if there is one. There is room: the
// group admits as many uids as there are seats, and counts those for which it
// holds a place.
func (a *Arena) OnOpen(_ context.Context, s *dog.Socket) error {
	for other := range a.SocketsOf(s.UID()) {
		if other != s {
			return s.Close(4000, "you play in another window") // the first window keeps the seat
		}
	}
	seat := a.seatOf(s.UID())
	if seat < 0 {
		seat = a.seatOf("")
	}
	if seat < 0 {
		return s.Close(4001, "no seat is free")
	}
	if a.loop == nil {
		a.ticks, a.field = -pause, [side * side]byte{}
		a.loop = a.Every(tick, a.step)
	}
	if a.seats[seat] == nil {
		a.seats[seat] = &player{
			Seat: seat, UID: s.UID(), X: side / 4 * (1 + 2*(seat%2)), Y: side / 4 * (1 + 2*(seat/2)),
		}
	}
	a.seats[seat].Gone = false
	return s.Send(map[string]any{"op": "welcome", "seat": seat, "side": side, "field": a.field[:]})
}

// seatOf returns the seat of a player, a free seat for "", or -1 if there is
// none.
func (a *Arena) seatOf(uid string) int {
	for i, p := range a.seats {
		if p == nil && uid == "" || p != nil && p.UID == uid {
			return i
		}
	}
	return -1
}

var directions = map[string][2]int{"left": {-1, 0}, "right": {1, 0}, "up": {0, -1}, "down": {0, 1}, "stop": {}}

// OnMessage turns a player.
func (a *Arena) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	seat := a.seatOf(s.UID())
	if to, known := directions[m.String()]; known && seat >= 0 {
		a.seats[seat].dx, a.seats[seat].dy = to[0], to[1]
	}
	return nil
}

// OnClose keeps a player's seat for a while.
func (a *Arena) OnClose(_ context.Context, s *dog.Socket, _ int, _ string) error {
	for range a.SocketsOf(s.UID()) {
		return nil // the player has another window
	}
	if seat := a.seatOf(s.UID()); seat >= 0 {
		p := a.seats[seat]
		p.Gone, p.left, p.dx, p.dy = true, time.Now(), 0, 0
	}
	return nil
}

// step runs one tick.
func (a *Arena) step(context.Context) error {
	var players []*player
	for seat, p := range a.seats {
		if p != nil && p.Gone && time.Since(p.left) >= grace {
			a.seats[seat] = nil
		} else if p != nil {
			players = append(players, p)
		}
	}
	switch {
	case len(players) == 0 || a.ticks == match:
		return a.end()
	case a.ticks < -1 && len(players) == seats:
		a.ticks = 0
	case a.ticks < 0 && len(players) < ready:
		a.ticks = -pause // wait again
	default:
		a.ticks++
	}
	if a.ticks == 0 {
		if err := a.SetLocked(true); err != nil { // the group sends only the players of this match here
			return err
		}
	}
	for _, p := range players {
		if a.ticks >= 0 {
			p.X, p.Y = min(max(p.X+p.dx, 0), side-1), min(max(p.Y+p.dy, 0), side-1)
			a.field[p.Y*side+p.X] = byte(p.Seat + 1)
		}
		p.Points = bytes.Count(a.field[:], []byte{byte(p.Seat + 1)})
	}
	return a.Emit(
		map[string]any{"op": "state", "ticks": a.ticks, "of": match, "players": players}, dog.Coalesce("state"),
	)
}

// end ends the match. The arena is free for others, and players connect again
// for another match.
func (a *Arena) end() error {
	a.loop.Stop()
	a.loop, a.seats = nil, [seats]*player{}
	if err := a.SetLocked(false); err != nil {
		return err
	}
	for s := range a.Sockets() {
		if err := s.Close(4002, "the match is over"); err != nil {
			return err
		}
	}
	return nil
}
