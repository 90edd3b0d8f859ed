package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/godurable/dog"
)

// Room is a replica of the chat: the few people who share it.
type Room struct {
	dog.Replica
	limit int
}

// Receive answers the requests of this room's people.
func (r *Room) Receive(w http.ResponseWriter, req *http.Request) error {
	message := newEvent("user:msg", "HTTP")
	message.Text = fmt.Sprintf("SENT VIA %q HTTP route", req.URL.Path)
	var err error
	switch req.URL.Path {
	case "/ws":
		_, err := r.Connect(w, req, nil)
		return err
	case "/broadcast":
		err = r.Broadcast(message)
	case "/emit":
		message.Meta = "group"
		err = r.Emit(message)
	case "/whisper":
		message.Meta, message.To = "whisper", req.URL.Query().Get("target")
		_, err = r.Whisper(req.Context(), message.To, message)
		if errors.Is(err, dog.ErrNoTarget) { // nobody to tell is no failure of the route
			err = nil
		}
	default:
		reply(w, fmt.Sprintf("PATH: %q", req.URL.Path))
		return nil
	}
	if err == nil {
		reply(w, "DONE")
	}
	return err
}

func reply(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff") // the path comes from the client
	_, _ = io.WriteString(w, text)                      // a client that is gone needs no answer
}

// OnOpen tells everybody who has come.
func (r *Room) OnOpen(ctx context.Context, s *dog.Socket) error {
	if err := dog.CallErr(ctx, dog.GroupOf[Lobby](r).Stub, (*Lobby).Enter, place{s.UID(), s.ID()}); err != nil {
		return err
	}
	return r.Broadcast(newEvent("user:join", s.UID()))
}

// OnClose tells the others who has gone, with the last of their tabs.
func (r *Room) OnClose(ctx context.Context, s *dog.Socket, code int, reason string) error {
	left, err := dog.Call(ctx, dog.GroupOf[Lobby](r).Stub, (*Lobby).Leave, place{s.UID(), s.ID()})
	if err != nil {
		r.Log().Warn("the lobby does not answer", "error", err)
	}
	if left == some || left == unknown && r.isThere(ctx, s.UID()) {
		return nil
	}
	return s.Broadcast(newEvent("user:exit", s.UID()))
}

// isThere asks all rooms for a user. When nobody can be asked the user is gone:
// twice is better than never.
func (r *Room) isThere(ctx context.Context, user string) bool {
	rooms, err := r.everyone(ctx)
	if err != nil {
		r.Log().Warn("the rooms do not answer", "error", err)
	}
	return slices.ContainsFunc(rooms, func(room presence) bool { return slices.Contains(room.Users, user) })
}

// OnMessage does what a browser asks for. What is no JSON object is ignored.
func (r *Room) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	var fields map[string]json.RawMessage
	if m.Decode(&fields) != nil || fields == nil {
		return nil
	}
	var asked request
	if err := m.Decode(&asked); err != nil { // an object whose type or text is not a string
		asked = request{}
	}
	switch asked.Type {
	case "req:connected":
		return r.Broadcast(newEvent("user:connected", s.UID()))
	case "req:user:list":
		return r.listUsers(ctx, s)
	case "req:replicas":
		return r.listReplicas(ctx, s)
	case "msg":
		return r.say(ctx, s, asked.Text)
	}
	if _, ok := fields["uid"]; !ok {
		fields["uid"], _ = json.Marshal(s.UID()) // a string always has a JSON form
	}
	return r.Broadcast(fields)
}

// say delivers what somebody typed.
func (r *Room) say(ctx context.Context, s *dog.Socket, typed string) error {
	to, user, text := parseText(typed)
	if text == "" {
		return nil
	}
	message := newEvent("user:msg", s.UID())
	message.Text = text
	switch to {
	case ownRoom:
		message.Meta = "group"
		return r.Emit(message)
	case oneUser:
		return r.whisper(ctx, s, user, message)
	default:
		return r.Broadcast(message)
	}
}

// whisper tells one user, and shows the sender what was said.
func (r *Room) whisper(ctx context.Context, s *dog.Socket, user string, message event) error {
	message.Meta, message.To = "whisper", user
	_, err := s.Whisper(ctx, user, message)
	away := errors.Is(err, dog.ErrNoTarget)
	if err != nil && !away {
		return err
	}
	if user != s.UID() { // who whispers to oneself has heard it already
		if err := s.Send(message); err != nil {
			return err
		}
	}
	if away {
		notice := newEvent("user:offline", "")
		notice.To = user
		return s.Send(notice)
	}
	return nil
}

// listUsers tells the asker who is there.
func (r *Room) listUsers(ctx context.Context, s *dog.Socket) error {
	rooms, err := r.everyone(ctx)
	if err != nil {
		return err
	}
	users := []string{}
	for _, room := range rooms {
		users = append(users, room.Users...)
	}
	slices.Sort(users)
	return s.Send(userList{Type: "user:list", List: slices.Compact(users), Time: time.Now().UnixMilli()})
}

// listReplicas tells the asker who is where.
func (r *Room) listReplicas(ctx context.Context, s *dog.Socket) error {
	rooms, err := r.everyone(ctx)
	if err != nil {
		return err
	}
	return s.Send(replicaList{
		Type: "replicas", Limit: r.limit, Self: r.ID().String(), List: rooms, Time: time.Now().UnixMilli(),
	})
}

// everyone asks the other rooms who is there and adds those of this one. A room
// that does not answer is left out.
func (r *Room) everyone(ctx context.Context) ([]presence, error) {
	replies, err := r.Gossip(ctx, nil)
	if err != nil {
		return nil, err
	}
	rooms := []presence{r.presence()}
	for _, reply := range replies {
		var p presence
		if err := reply.Decode(&p); err != nil {
			r.Log().Warn("a room does not answer", "room", reply.Replica.String(), "error", err)
			continue
		}
		rooms = append(rooms, p)
	}
	slices.SortFunc(rooms, func(a, b presence) int { return cmp.Compare(a.ID, b.ID) })
	return rooms, nil
}

// OnGossip tells another room who is in this one.
func (r *Room) OnGossip(context.Context, dog.Message) (any, error) { return r.presence(), nil }

func (r *Room) presence() presence {
	p := presence{ID: r.ID().String(), Users: []string{}}
	for s := range r.Sockets() {
		p.Sockets++
		p.Users = append(p.Users, s.UID())
	}
	slices.Sort(p.Users)
	p.Users = slices.Compact(p.Users)
	return p
}
