package main

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/godurable/dog"
)

// Lobby is the chat as a whole. As a group, it sends each person to a room with
// a free place, and makes another room when all are full.
type Lobby struct {
	dog.Group
	limit int        // of each room
	soon  *dog.Timer // runs show; nil if no place has changed
}

// Identify makes Lobby a gateway. A real service authenticates people here.
func (l *Lobby) Identify(r *http.Request) (uid string, err error) {
	hidden := func(c rune) bool { return c == utf8.RuneError || c == ' ' || !unicode.IsPrint(c) }
	if uid = r.FormValue("u"); uid == "" || utf8.RuneCountInString(uid) > 32 || strings.ContainsFunc(uid, hidden) {
		return "", &dog.StatusError{Status: 400, Text: "a name has 1 to 32 visible characters and no space"}
	}
	return uid, nil
}

// OnPresence sends to all clients who came and who left. It does not run for
// another tab, nor for a connection that breaks for less than the grace.
func (l *Lobby) OnPresence(_ context.Context, change dog.PresenceChange) error {
	return l.Broadcast(presence{"presence", time.Now().UnixMilli(), change})
}

// Changed records that a place has been taken or left. The more people there
// are, the more changes share one picture.
func (l *Lobby) Changed(context.Context) error {
	if l.soon == nil {
		l.soon = l.After(100*time.Millisecond+time.Duration(l.MemberCount())*time.Millisecond, l.show)
	}
	return nil
}

// show asks the rooms who is in them, and sends the answers to all. A picture
// is complete, however often people come and go, so the newest is enough.
func (l *Lobby) show(ctx context.Context) error {
	l.soon = nil // later changes are for the next picture
	replies, err := l.Gossip(ctx, nil)
	if err != nil {
		return err
	}
	rooms := make(map[string][]string)
	for _, reply := range replies {
		var users []string
		if reply.Decode(&users) == nil { // otherwise the room is about to close
			rooms[reply.Replica.String()] = users
		}
	}
	return l.Broadcast(picture{Type: "replicas", Limit: l.limit, Rooms: rooms}, dog.Coalesce("picture"))
}

// Room is a replica of the chat, with a few people in it. The history of the
// group has all messages of the last minutes, except those to one room. The log
// has the lines to all of the last month, for a client that is new or was away
// for longer. The client drops a line whose ID it has already, and sorts lines
// by ID, as rooms send at any time.
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
func (r *Room) OnMessage(ctx context.Context, s *dog.Socket, received dog.Message) (err error) {
	var m message
	switch {
	case received.Decode(&m) != nil:
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

// sendLines sends the part of the log before a line, and who is there.
func (r *Room) sendLines(ctx context.Context, s *dog.Socket, before int64) error {
	lines, err := dog.Call(ctx, r.log, (*Log).Before, before)
	people, err2 := dog.GroupOf[Lobby](r).Members(ctx, "", 0)
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	lines.Room, lines.People = r.ID().String(), people
	return s.Send(lines)
}

// deliver sends a message to its audience and to its author.
func (r *Room) deliver(ctx context.Context, s *dog.Socket, m message) (err error) {
	m.ID, m.At, m.From, m.Kept = 0, time.Now().UnixMilli(), s.UID(), false // not what the client claims
	switch m.Meta {
	case "group":
		return r.Emit(m)
	case "whisper":
		reached, err := s.Whisper(ctx, m.To, m)
		if reached == 0 { // the history keeps it for a person who has gone
			m.Type, m.Kept = "away", err == nil
		}
		if errors.Is(err, dog.ErrNoTarget) || errors.Is(err, dog.ErrInvalidName) || err == nil && m.To != m.From {
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

// message goes from a client to its room and, as "msg", from there to its
// audience. "older" asks for the lines before ID. The room sends "failed" back
// for what did not work, and "away" for a whisper to somebody who is not there.
type message struct {
	Type string `json:"type"`
	Line        // without ID if the log does not keep it
	At   int64  `json:"at,omitempty"`   // milliseconds since 1970, if there is no ID
	Meta string `json:"meta,omitempty"` // "group", "whisper", or "" for all
	To   string `json:"to,omitempty"`   // of a whisper
	Kept bool   `json:"kept,omitempty"` // with "away": the history keeps it for the person
}

// valid reports whether a client may send the message.
func (m message) valid() bool {
	return strings.TrimSpace(m.Text) != "" && utf8.RuneCountInString(m.Text) <= 2000 &&
		m.Key != "" && len(m.Key) <= 64 && len(m.To) <= 128
}

// presence says who came and who left.
type presence struct {
	Type string `json:"type"`
	At   int64  `json:"at"` // milliseconds since 1970
	dog.PresenceChange
}

// picture shows who has the places in each room.
type picture struct {
	Type  string              `json:"type"`
	Limit int                 `json:"limit"`
	Rooms map[string][]string `json:"rooms"` // people by the ID of their room
}
