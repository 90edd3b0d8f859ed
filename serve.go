package dog

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// Serve starts the runtime ([Runtime.Start]) and serves HTTP until ctx ends.
// Then it shuts down the runtime and the server at the same time, as
// [Runtime.Shutdown] recommends, and waits for both for up to
// Options.ShutdownTimeout. If listener is nil, Serve listens on server.Addr. If
// server has a TLSConfig, Serve serves HTTPS with its certificates.
//
// Serve returns nil if everything has ended in good order. Otherwise the error
// describes what has not: why the server could not listen or ended by itself,
// after which the runtime is shut down too, and the error of Shutdown. If other
// code shuts down the server or the runtime, Serve ends in the same way, without
// an error of its own. If the runtime has been shut down before, Serve returns
// [ErrShutdown]. Serve closes the listener.
func (rt *Runtime) Serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	if rt == nil || rt.ctx == nil || server == nil {
		if listener != nil {
			_ = listener.Close()
		}
		if rt == nil || rt.ctx == nil {
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
	served, failed := rt.serve(ctx, server, listener)
	patience, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), rt.opts.ShutdownTimeout,
		fmt.Errorf("Options.ShutdownTimeout of %v is over: %w", rt.opts.ShutdownTimeout, context.DeadlineExceeded))
	defer cancel()
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
// without being shut down, serve returns the cause. served is closed when the server
// has ended.
func (rt *Runtime) serve(ctx context.Context, server *http.Server, listener net.Listener) (served chan struct{}, failed error) {
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

// Start lets alarms run. Until then the runtime does nothing on its own, so all
// types can be registered and wired before. The first call or request from
// outside of objects also starts the runtime. Types that are registered later
// run their alarms from then on. Further calls do nothing.
func (rt *Runtime) Start() {
	if rt == nil || rt.ctx == nil || rt.started.Load() || rt.started.Swap(true) {
		return
	}
	for _, ns := range rt.registered() {
		ns.startAlarms()
	}
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
