package dog

import (
	"context"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/wire"
)

// This file passes the frames of dog.v1 that are for a queue of commands
// between sockets and package outbox, which the root does not know.

func init() {
	hook.HandleFrames = func(object, queue any, f func(context.Context, any, bool, wire.Frame) error) error {
		o := object.(*Object)
		if _, err := o.running(); err != nil {
			return err
		}
		if err := o.life().Tx.Owner.Running(); err != nil {
			return err
		}
		if o.queue != nil && o.queue != queue {
			return misuse("Queue.Bind", "another queue is bound to the object, and would have the same keys")
		}
		o.queue, o.frames = queue, f
		return nil
	}
	hook.Admit = func(socket any) error { return socket.(*Socket).admit() }
	hook.Admitted = func(socket any) (admitted, ready bool) { return socket.(*Socket).isAdmitted() }
	hook.SendFrame = func(socket any, binary bool, frame []byte) error {
		op := conn.Text
		if binary {
			op = conn.Binary
		}
		s := socket.(*Socket)
		o := s.obj.voice()
		if err := o.CheckGate(); err != nil {
			return err
		}
		return s.send(o, outgoing{frame: conn.NewHeaded(op, frame)})
	}
	hook.Setting = func(object any) (string, time.Time) {
		host := object.(*Object).object().runtime().host
		return host.Engine.Copy(), host.WallClock()
	}
	hook.InTurn = func(object any) error { return object.(*Object).life().Tx.Owner.Running() }
	hook.MayWait = func(ctx context.Context, o any) error {
		life, err := object.Running(ctx)
		if err != nil {
			return err
		}
		if life != o.(*Object).life() {
			return ErrOutsideTurn
		}
		return object.MayWait(ctx)
	}
	hook.Reverts = func(object any) (uint64, error) {
		s := object.(*Object).Storage()
		if err := s.enter(); err != nil {
			return 0, err
		}
		defer s.leave()
		return s.life.Tx.Data().Reverts(), nil
	}
}

// admit lets the client's frames for a queue of commands be handled.
func (s *Socket) admit() error {
	switch {
	case !s.running():
		return notRunning("Queue.Attach")
	case s.v1 == nil:
		return misuse("Queue.Attach", "the client does not speak dog.v1")
	case s.over():
		return ErrSocketClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued = true
	return nil
}

func (s *Socket) isAdmitted() (admitted, ready bool) {
	if s.v1 == nil {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued, s.ready
}

// handleFrame passes a frame that is no message to the queue of commands that
// has admitted the socket. Other frames are ignored.
func (s *Socket) handleFrame(op conn.Op, f wire.Frame) {
	if f.Kind != wire.Ready && f.Kind != wire.Reply {
		return
	}
	s.mu.Lock()
	s.ready = s.ready || f.Kind == wire.Ready
	admitted := s.queued
	s.mu.Unlock()
	if !admitted {
		return
	}
	_ = s.event(s.life(), EventMessage, func(ctx context.Context, v any) error {
		handle := s.obj.ns.coreOf(v).frames
		if handle == nil || s.outdated(ctx) {
			return nil
		}
		return handle(ctx, s, op == conn.Binary, f)
	})
}
