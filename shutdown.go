package dog

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/turn"
)

const (
	shutdownReason = "server shutting down"

	// stopRounds bounds how often objects are stopped that OnStop of others has
	// started anew.
	stopRounds = 8

	// lastMoment is what Shutdown takes at most once its context has ended, for
	// close frames to leave, and how long the OnStop of idle objects may take
	// whatever the context says.
	lastMoment = time.Second

	// maxNamed bounds the objects that the text of its error names.
	maxNamed = 10
)

// shutdownError says what had not ended when the context of Shutdown did.
type shutdownError struct {
	objects []ObjectInfo // where an event ran or waited, or a socket had not had its OnClose
	running int          // requests, sockets and goroutines, those of objects included
	stage   int32        // of the end
	cause   error
}

// The stages of the end of a runtime.
const (
	stopsObjects  int32 = iota // until no more objects, requests, sockets and goroutines go on
	stopsServices              // then the runtime's own goroutines end
	closesStore
)

func (e *shutdownError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "dog: shutdown gave up: %v: ", e.cause)
	switch {
	case e.stage == closesStore:
		b.WriteString("the store has not closed")
	case e.running > 0:
		fmt.Fprintf(&b, "%d requests, sockets and goroutines have not ended", e.running)
	case e.stage == stopsServices:
		b.WriteString("the runtime's own goroutines have not ended")
	default:
		b.WriteString("objects are being stopped")
	}
	for i, o := range e.objects {
		switch i {
		case 0:
			fmt.Fprintf(&b, ", %d objects: ", len(e.objects))
		case maxNamed:
			fmt.Fprintf(&b, " and %d more", len(e.objects)-i)
			return b.String()
		default:
			b.WriteString(", ")
		}
		b.WriteString(o.Namespace)
		if o.Name != "" {
			fmt.Fprintf(&b, " %q", o.Name)
		} else {
			b.WriteString(" " + o.ID.String())
		}
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *shutdownError) Unwrap() error { return e.cause }

// Stopping returns a channel that is closed when [Runtime.Shutdown] begins, for
// loops and streams outside of objects. It is nil, and so never closed, for a
// Runtime that New did not make.
func (rt *Runtime) Stopping() <-chan struct{} {
	if rt == nil || rt.ctx == nil {
		return nil
	}
	return rt.stopping.Done()
}

// Stopping returns a channel that is closed when [Runtime.Shutdown] begins, for
// handlers that go on until somebody tells them to end: loops started by [Go],
// streams. Wait for it in [Await]. The handler's own context ends only when
// Shutdown has lost its patience. It is nil, and so never closed, when ctx does
// not belong to a handler.
func Stopping(ctx context.Context) <-chan struct{} {
	if e := turn.From(ctx); e != nil {
		return e.Owner().(*instance).obj.runtime().Stopping()
	}
	return nil
}

// Shutdown stops the runtime in good order. At once, new requests are answered
// with 503 and Retry-After, handlers are told ([Stopping], [ClientGone]), all
// sockets are closed with 1001, and OnStop runs for the objects that are idle,
// 64 at a time, of which none keeps the others waiting for more than a second.
// Handlers under way and every OnClose run to their end, and their objects are
// stopped as they fall idle. An object that another one calls after it was
// stopped starts anew, and is stopped once more. When everything has ended, the
// store is closed and Shutdown returns nil, or the error of that.
//
// A handler must not call it with its context, since it would wait for itself:
// ErrDeadlock, and nothing is shut down.
//
// When ctx is done first, the contexts of all handlers are cancelled,
// connections are cut once their close frame has left, what waits for space on
// a full disk is given up ([ErrStoreFailed]), and Shutdown returns an error
// that wraps the cause of ctx's end and says how much has not ended, with the
// names of the first ten objects among that, or that the store has not closed.
// It takes up to a second for that, and gives the OnStop of idle objects a
// second even when ctx was done before. Handlers that take no notice go on, and
// only when the last of them has ended is the store closed. Further calls wait
// like the first.
//
// Call it before, or at the same time as, net/http's Server.Shutdown: that
// waits for streams and long polls, which end when they hear of this one, and
// it does not wait for WebSockets.
func (rt *Runtime) Shutdown(ctx context.Context) error {
	if rt == nil || rt.ctx == nil {
		return notRunning("Runtime.Shutdown")
	}
	if turn.From(ctx) != nil {
		return ErrDeadlock
	}
	rt.shutdown.Do(func() {
		rt.closing.Store(true)
		rt.announce(ErrShutdown)
		rt.signalIdle()
		go rt.end() // what callers wait for
	})
	select {
	case <-rt.ended:
		return rt.closed
	case <-ctx.Done():
	}
	select {
	case <-rt.ended: // in the same moment, or long ago
		return rt.closed
	default:
	}
	return rt.giveUp(context.Cause(ctx))
}

// end ends everything, however long that takes.
func (rt *Runtime) end() {
	for _, o := range rt.objects() {
		end := func(error) { o.gate.Say(func(error) { o.closeSockets(1001, shutdownReason) }) }
		if o.member != nil {
			o.member.books.group.gate.Say(end) // after what the group has said
		} else if o.occupied() {
			end(nil)
		}
	}
	close(rt.farewell)
	rt.stopObjects()
	rt.ending.Store(stopsServices)
	rt.stop(ErrShutdown)
	rt.services.Wait()
	rt.drained() // of what these have begun
	rt.ending.Store(closesStore)
	rt.closed = rt.engine.Close()
	close(rt.ended)
}

// giveUp cuts off what has not ended, and returns what that is.
func (rt *Runtime) giveUp(cause error) error {
	moment := time.NewTimer(lastMoment)
	defer moment.Stop()
	select {
	case <-rt.farewell:
	case <-moment.C:
	}
	select { // closed a second after the beginning at the latest
	case <-rt.idleStopped:
	case <-rt.ended:
	}
	select {
	case <-rt.ended:
		return rt.closed
	default:
	}
	all := rt.objects()
	left := &shutdownError{stage: rt.ending.Load(), running: int(rt.busy.Load()), cause: cause}
	var sockets []*conn.Conn
	for _, o := range all {
		if o.busy() {
			left.objects = append(left.objects, o.info())
		}
		for c := range o.conns() {
			_ = c.Close(1001, shutdownReason) // where the gate holds it back
			sockets = append(sockets, c)
		}
	}
	sockets = append(sockets, rt.leaving()...) // whose clients do not hang up
	rt.stop(ErrShutdown)
	rt.engine.GiveUp()
	for _, o := range all {
		if inst := o.current.Load(); inst != nil {
			inst.turn.Refuse(ErrShutdown)
		}
	}
	partAll(sockets, moment.C)
	return left
}

// partAll cuts connections, each once its close frame has left, or when time is
// up.
func partAll(sockets []*conn.Conn, up <-chan time.Time) {
	pause := time.Millisecond
	for {
		waits := sockets[:0]
		for _, c := range sockets {
			if !c.Part() {
				waits = append(waits, c)
			}
		}
		if sockets = waits; len(sockets) == 0 {
			return
		}
		select {
		case <-up:
			for _, c := range sockets {
				c.Abort(ErrShutdown)
			}
			return
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// busy reports whether an event is under way or waits, or a socket is there.
func (o *object) busy() bool {
	if inst := o.current.Load(); inst != nil && !inst.turn.Idle() {
		return true
	}
	return o.occupied()
}

// stopObjects runs OnStop of all objects, of each as soon as it is idle, and
// returns when nothing goes on any more.
func (rt *Runtime) stopObjects() {
	soon := time.AfterFunc(lastMoment, rt.stopFirst)
	defer soon.Stop()
	var first sync.WaitGroup
	rt.stopIdle(&first)
	rt.spawn(func() {
		first.Wait()
		rt.stopFirst()
	})
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause, rounds := 10*time.Millisecond, 0; rounds < stopRounds; pause = min(2*pause, time.Second) {
		timer.Reset(pause)
		select {
		case <-rt.idle:
		case <-timer.C:
		}
		drained := rt.busy.Load() == 0
		begun := rt.stopIdle(nil)
		switch {
		case drained && begun == 0:
			return
		case drained:
			rounds++
		}
	}
	rt.drained()
}

// stopFirst tells giveUp that it need not wait for the first OnStop any more.
func (rt *Runtime) stopFirst() { rt.firstStops.Do(func() { close(rt.idleStopped) }) }

// stopIdle begins OnStop of the objects that are idle and returns their number.
// all, which may be nil, waits for them.
func (rt *Runtime) stopIdle(all *sync.WaitGroup) (begun int) {
	placed := false
	for _, ns := range rt.registered() {
		if !ns.stops {
			continue
		}
		for _, o := range ns.live() {
			inst := o.current.Load()
			if inst == nil || o.busy() {
				continue
			}
			if !placed {
				rt.places <- struct{}{} // given back within stopPlace
				placed = true
			}
			ticket, ok := inst.turn.QueueIdle(turn.Origin{}, nil)
			if !ok {
				continue
			}
			placed = false
			begun++
			if all != nil {
				all.Add(1)
			}
			rt.spawn(func() {
				if all != nil {
					defer all.Done()
				}
				defer rt.places.hold()()
				o.stop(inst, ticket, StopShutdown)
			})
		}
	}
	if placed {
		<-rt.places
	}
	return begun
}
