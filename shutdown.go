package dog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godurable/dog/internal/conn"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/wire"
)

const (
	shutdownReason = "server shutting down"

	// lastMoment is the maximum time that Shutdown takes for close frames to
	// leave after its context has ended. It is also how long the OnStop of idle
	// objects may take, regardless of the context.
	lastMoment = time.Second

	// maxNamed is the maximum number of objects named in the error text.
	maxNamed = 10
)

// shutdownError reports what had not ended when the context of Shutdown ended.
type shutdownError struct {
	objects []ObjectInfo // where an event ran or waited, or a socket had not had its OnClose
	running int          // requests, sockets and goroutines, including those of objects
	stage   int32        // stage of the shutdown
	cause   error
}

// The stages of the shutdown of a runtime.
const (
	stopsObjects  int32 = iota // until all objects, requests, sockets and goroutines have ended
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
// loops and streams outside objects. For a Runtime that New did not make, the
// channel is nil and so never closed.
func (rt *Runtime) Stopping() <-chan struct{} {
	if rt == nil || rt.host == nil {
		return nil
	}
	return rt.stopping.Done()
}

// Stopping returns a channel that is closed when [Runtime.Shutdown] begins, for
// handlers that run for a long time, such as streams and loops started by [Go].
// Wait for it in [Await]. The handler's own context ends only when the context
// of Shutdown has ended. If ctx does not belong to a handler, the channel is
// nil and so never closed.
func Stopping(ctx context.Context) <-chan struct{} {
	if e := turn.From(ctx); e != nil {
		return runningIn(e).runtime().Stopping()
	}
	return nil
}

// Shutdown stops the runtime gracefully. At once, new requests get 503 with
// Retry-After, handlers are notified ([Stopping], [ClientGone]), all sockets
// are closed with 1001, and OnStop runs for idle objects, 64 at a time. Clients
// that speak dog.v1 are asked to come back at random times, about 2,000 a
// second: within half a second if they are few, and within 30 seconds at most.
// No OnStop delays the others by more than a second. Running handlers and every
// OnClose run to their end, and their objects are stopped when they become
// idle. If an object calls another object that has been stopped, the called
// object starts again and is stopped once more. When everything has ended,
// Shutdown closes the store and returns its error, or nil.
//
// A handler must not call Shutdown with its context, since it would wait for
// itself. Shutdown then returns ErrDeadlock and shuts down nothing.
//
// If ctx is done first, the contexts of all handlers are cancelled, connections
// are cut once their close frame has left, and writes waiting for space on a
// full disk are given up ([ErrStoreFailed]). Shutdown returns an error that
// wraps the cause of ctx's end and reports how much has not ended, with the
// names of the first ten objects concerned, or that the store has not closed.
// This takes up to a second, and the OnStop of idle objects gets a second even
// if ctx was done before the call. Handlers that ignore their context go on,
// and the store is closed only when the last of them has ended. Further calls
// wait like the first.
//
// Once Shutdown has returned, calls that can no longer have an effect, such as
// Broadcast or Drain by a goroutine of the program, fail with [ErrShutdown].
// Handlers for which Shutdown still waits can send, call and store as before.
//
// Call Shutdown before, or at the same time as, net/http's Server.Shutdown.
// Server.Shutdown waits for streams and long polls, which end when this
// Shutdown begins, and it does not wait for WebSockets.
func (rt *Runtime) Shutdown(ctx context.Context) error {
	if rt == nil || rt.host == nil {
		return notRunning("Runtime.Shutdown")
	}
	if turn.From(ctx) != nil {
		return ErrDeadlock
	}
	rt.shutdown.Do(func() {
		rt.farewell = rt.newFarewell()
		rt.host.Work.Close()
		rt.announce(ErrShutdown)
		go rt.end() // callers wait for it
	})
	select {
	case <-rt.ended:
		return rt.closed
	case <-ctx.Done():
	}
	select {
	case <-rt.ended: // at the same moment, or long ago
		return rt.closed
	default:
	}
	return rt.cutOff(context.Cause(ctx))
}

// end shuts everything down, however long that takes.
func (rt *Runtime) end() {
	for _, o := range rt.objects() {
		end := func(error) { o.Gate.Send(func(error) { o.closeSockets(rt.farewell) }) }
		if o.replica != nil {
			o.replica.group.obj.Gate.Send(end) // after everything the group has sent
		} else if o.Occupied() {
			end(nil)
		}
	}
	close(rt.closeFramesSent)
	rt.host.StopObjects(lastMoment)
	rt.ending.Store(stopsServices)
	rt.host.End(ErrShutdown)
	rt.host.Services.Wait()
	rt.host.Work.Wait() // of work that the services have begun
	rt.ending.Store(closesStore)
	if err := rt.saveRecords(); err != nil {
		rt.opts.Logger.Error("cannot save what clients may have missed", "error", err)
	}
	rt.closed = rt.host.Engine.Close()
	close(rt.ended)
}

// newFarewell returns how Shutdown closes the sockets that are open now.
func (rt *Runtime) newFarewell() *conn.Farewell {
	clients := 0
	for _, o := range rt.objects() {
		if s := o.crowd.Load(); s != nil {
			clients += s.set.Len()
		}
	}
	f, err := conn.NewFarewell(1001, shutdownReason, wire.AppendBack(nil, clients))
	if err != nil {
		panic(err) // the code and the reason are allowed
	}
	return f
}

// saveRecords stores the histories and the members that are in memory, and
// which messages of clients have been handled. They are durable when the engine
// is closed. An object that cannot be saved costs the others nothing.
func (rt *Runtime) saveRecords() error {
	var failed []error
	for _, o := range rt.objects() {
		if o.ownSessions() == nil && o.ownHistory() == nil && !o.attendance().Busy() {
			continue
		}
		b := rt.host.Engine.Begin() // one for each, since histories may be large
		err := o.save(b)
		if err != nil {
			b.Discard()
		} else {
			_, err = b.Commit()
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// cutOff cuts off everything that has not ended, and returns an error that
// describes it.
func (rt *Runtime) cutOff(cause error) error {
	moment := time.NewTimer(lastMoment)
	defer moment.Stop()
	select {
	case <-rt.closeFramesSent:
	case <-moment.C:
	}
	select { // closed within a second of the start of Shutdown
	case <-rt.host.IdleStopped():
	case <-rt.ended:
	}
	select {
	case <-rt.ended:
		return rt.closed
	default:
	}
	all := rt.objects()
	left := &shutdownError{stage: rt.ending.Load(), running: rt.host.Work.Len(), cause: cause}
	var sockets []*conn.Conn
	for _, o := range all {
		if o.Busy() {
			left.objects = append(left.objects, o.info())
		}
		for c := range o.conns() {
			c.Leave(rt.farewell) // where the gate holds back the close frame
			sockets = append(sockets, c)
		}
	}
	sockets = append(sockets, rt.leaving()...) // whose clients do not hang up
	rt.host.End(ErrShutdown)
	rt.host.Engine.GiveUp()
	for _, o := range all {
		o.Refuse(ErrShutdown)
	}
	partAll(sockets, moment.C)
	return left
}

// partAll cuts connections, each once its close frame has left, or all of them
// when up fires.
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
