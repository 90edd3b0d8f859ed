package main

import (
	"context"
	"errors"
	"math"

	"github.com/godurable/dog"
)

// Room is a replica of the chat, with a few people in it.
type Room struct {
	dog.Replica
	log dog.Stub[Log]
}

// OnOpen sends a browser the end of the log. The socket has already joined the
// room, so a message that is not in the log yet arrives by itself. An error
// closes the socket, and the page connects again.
func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) error {
	err := r.sendLines(ctx, s, math.MaxInt64)
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

// OnMessage handles a message of a browser. It ignores invalid messages.
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
	if err != nil { // dog logs it; the browser gets no details
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
	m.ID, m.From = 0, s.UID() // not what the browser claims
	switch m.Meta {
	case "group":
		return r.Emit(m)
	case "whisper":
		_, err = s.Whisper(ctx, m.To, m)
		if errors.Is(err, dog.ErrNoTarget) || errors.Is(err, dog.ErrInvalidName) {
			m.Type = "away"
			return s.Send(m)
		}
		if err != nil || m.To == s.UID() {
			return err
		}
		return s.Send(m)
	}
	m.Meta, m.To = "", ""
	if m.ID, err = dog.Call(ctx, r.log, (*Log).Append, m.Line); err != nil {
		return err
	}
	return r.Broadcast(m) // to the sockets of all rooms
}
