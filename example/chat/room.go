package main

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/godurable/dog"
)

// Room is a replica of the chat, with a few people in it.
//
// The history of the group has all messages of the last minutes, except those
// to one room: a client that comes back gets from it what it has missed, once
// and in order. The log has the lines to all of the last month, for a client
// that is new or was away for longer. Where both have a line, the client drops
// the second with the same ID. It sorts lines by ID, as rooms send at any time.
type Room struct {
	dog.Replica
	log dog.Stub[Log]
}

// OnOpen sends a client the end of the log, unless the history has all that it
// has missed. The socket has already joined the room, so a line that is not in
// the log yet follows. An error closes the socket, and the page connects again.
func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) (err error) {
	if s.Resume().Gap == "" {
		err = s.Send(history{Type: "history", Room: r.ID().String()})
	} else {
		err = r.sendLines(ctx, s, math.MaxInt64)
	}
	return errors.Join(err, dog.CallErr0(ctx, dog.GroupOf[Lobby](r).Stub, (*Lobby).Changed))
}

// OnClose runs once for each socket that has joined, whatever ended it.
func (r *Room) OnClose(ctx context.Context, _ *dog.Socket, _ int, _ string) error {
	return dog.CallErr0(ctx, dog.GroupOf[Lobby](r).Stub, (*Lobby).Changed)
}

// OnGossip returns the people in the room to the lobby.
func (r *Room) OnGossip(context.Context, dog.Message) (any, error) {
	users := []string{}
	for s := range r.Sockets() {
		users = append(users, s.UID()) // twice for a person with two tabs
	}
	return users, nil
}

// OnMessage handles a message of a client. It ignores invalid messages.
func (r *Room) OnMessage(ctx context.Context, s *dog.Socket, received dog.Message) error {
	var m message
	err := received.Decode(&m)
	switch {
	case err != nil:
		return nil
	case m.Type == "msg" && m.valid():
		err = r.deliver(ctx, s, m)
	case m.Type == "older":
		err = r.sendLines(ctx, s, m.ID)
	}
	if err != nil { // dog logs it; the client gets no details
		return errors.Join(err, s.Send(message{Type: "failed", Line: Line{Key: m.Key}}))
	}
	return nil
}

// sendLines sends the part of the log before a line.
func (r *Room) sendLines(ctx context.Context, s *dog.Socket, before int64) error {
	lines, err := dog.Call(ctx, r.log, (*Log).Before, before)
	if err != nil {
		return err
	}
	lines.Room = r.ID().String()
	return s.Send(lines)
}

// deliver sends a message to its audience and to its author.
func (r *Room) deliver(ctx context.Context, s *dog.Socket, m message) (err error) {
	m.ID, m.At, m.From, m.Kept = 0, time.Now().UnixMilli(), s.UID(), false // not what the client claims
	switch m.Meta {
	case "group":
		return r.Emit(m)
	case "whisper":
		reached, err := 0, dog.ErrNoTarget
		if validName(m.To) {
			reached, err = s.Whisper(ctx, m.To, m)
		}
		if reached == 0 { // the history keeps it for a person who has gone
			m.Type, m.Kept = "away", err == nil
		}
		if errors.Is(err, dog.ErrNoTarget) || err == nil && m.To != m.From {
			_, err = s.Whisper(ctx, m.From, m) // unlike Send, this is kept
		}
		return err
	}
	m.Meta, m.To, m.At = "", "", 0
	if m.ID, err = dog.Call(ctx, r.log, (*Log).Append, m.Line); err != nil {
		return err
	}
	return r.Broadcast(m) // to the sockets of all rooms
}
