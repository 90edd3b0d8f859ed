package dog

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// unusedGrace is how long [Runtime.Serve] waits, after it has begun to shut
// down, for the first request of a connection.
const unusedGrace = 500 * time.Millisecond

// Serve starts the runtime ([Runtime.Start]) and serves HTTP until ctx ends.
// Then it shuts down the runtime and the server at the same time, as
// [Runtime.Shutdown] recommends, and waits for both for up to
// Options.ShutdownTimeout. If listener is nil, Serve listens on server.Addr. If
// server has a TLSConfig, Serve serves HTTPS with its certificates.
//
// Serve returns nil if everything has ended normally. Otherwise the error
// describes what has not: why the server could not listen or ended by itself,
// after which the runtime is shut down too, and the error of Shutdown. If other
// code shuts down the server or the runtime, Serve ends in the same way,
// without an error of its own. If the runtime has been shut down before, Serve
// returns [ErrShutdown]. Serve closes the listener.
//
// Serve sets server.ConnState and calls the earlier function from there. It
// needs it to close connections on which no request has begun half a second
// after the shutdown. Browsers open such connections in advance, and
// Server.Shutdown waits five seconds for them.
func (rt *Runtime) Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	if rt == nil || rt.host == nil || server == nil {
		if listener != nil {
			_ = listener.Close()
		}
		if rt == nil || rt.host == nil {
			return notRunning("Runtime.Serve")
		}
		return misuse("Runtime.Serve", "the server is nil")
	}
	if rt.stopping.Err() != nil && ctx.Err() == nil {
		if listener != nil {
			_ = listener.Close()
		}
		return ErrShutdown
	}
	var unused unusedConns
	unused.watch(server)
	served, failed := rt.serve(ctx, server, listener)
	patience, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), rt.opts.ShutdownTimeout,
		fmt.Errorf("Options.ShutdownTimeout of %v is over: %w", rt.opts.ShutdownTimeout, context.DeadlineExceeded))
	defer cancel()
	late := time.AfterFunc(unusedGrace, unused.close)
	defer late.Stop()
	var both sync.WaitGroup
	var ended, closed error
	both.Go(func() { ended = rt.Shutdown(patience) })
	both.Go(func() {
		if closed = server.Shutdown(patience); closed != nil {
			closed = errors.Join(fmt.Errorf("dog: the server has not ended: %w", closed), server.Close())
		}
	})
	both.Wait()
	<-served
	return errors.Join(failed, ended, closed)
}

// serve serves until ctx, the runtime or the server ends. If the server ended
// without being shut down, serve returns the cause. served is closed when the
// server has ended.
func (rt *Runtime) serve(
	ctx context.Context, server *http.Server, listener net.Listener,
) (served chan struct{}, failed error) {
	served = make(chan struct{})
	if listener == nil {
		addr := server.Addr
		if addr == "" && server.TLSConfig != nil {
			addr = ":https"
		} else if addr == "" {
			addr = ":http"
		}
		if listener, failed = new(net.ListenConfig).Listen(ctx, "tcp", addr); failed != nil {
			close(served)
			if ctx.Err() != nil && errors.Is(failed, ctx.Err()) { // while the address was looked up
				return served, nil
			}
			return served, fmt.Errorf("dog: serve: %w", failed)
		}
	}
	rt.Start()
	var err error
	go func() {
		defer close(served)
		if server.TLSConfig != nil {
			once := &onceListener{Listener: listener}
			defer func() { _ = once.Close() }() // ServeTLS leaves it open if the certificates are missing
			err = server.ServeTLS(once, "", "")
		} else {
			err = server.Serve(listener)
		}
	}()
	select {
	case <-ctx.Done():
		return served, nil
	case <-rt.stopping.Done():
		return served, nil
	case <-served:
	}
	if errors.Is(err, http.ErrServerClosed) {
		return served, nil
	}
	return served, fmt.Errorf("dog: serve: %w", err)
}

// onceListener is a listener that is closed once, however often Close is
// called.
type onceListener struct {
	net.Listener
	once sync.Once
	err  error // owned by once
}

func (l *onceListener) Close() error {
	l.once.Do(func() { l.err = l.Listener.Close() })
	return l.err
}

// unusedConns holds a server's connections on which no request has begun.
type unusedConns struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{} // guarded by mu
}

// watch follows the connections of a server that does not serve yet.
func (u *unusedConns) watch(server *http.Server) {
	u.conns = make(map[net.Conn]struct{})
	earlier := server.ConnState
	server.ConnState = func(c net.Conn, state http.ConnState) {
		u.mu.Lock()
		if state == http.StateNew {
			u.conns[c] = struct{}{}
		} else {
			delete(u.conns, c)
		}
		u.mu.Unlock()
		if earlier != nil {
			earlier(c, state)
		}
	}
}

// close closes the connections. The server forgets them when it notices.
func (u *unusedConns) close() {
	u.mu.Lock()
	conns := slices.Collect(maps.Keys(u.conns))
	u.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}
