package http_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// The chain is a client, a target that hands the request on to a room, the
// gossip of that room, and a sibling that waits, or that asks another target
// which waits.
func TestHTTP_CauseOfTheOuterContextReachesOnGossip(t *testing.T) {
	type chain struct {
		rt       *dog.Runtime
		leave    func() // of the client
		give     func() // ends the context with which the room gossips
		asker    *fixture.Room
		front    dog.Stub[target]
		returned chan struct{} // closing it lets the room's handler return while its goroutine gossips
	}
	for name, c := range map[string]struct {
		end   func(t *testing.T, c *chain)
		quiet bool // OnGossip itself does not get the end: the object that it calls does
	}{
		"the client leaves": {func(_ *testing.T, c *chain) { c.leave() }, true},
		"the first object is reset": {func(t *testing.T, c *chain) {
			require.NoError(t, c.front.Abort(errors.New("as planned")))
		}, true},
		"the one that asks is reset": {func(_ *testing.T, c *chain) { c.asker.Abort(errors.New("as planned")) }, false},
		"the context ends":           {func(_ *testing.T, c *chain) { c.give() }, false},
		"the handler returns":        {func(_ *testing.T, c *chain) { close(c.returned) }, false},
		"Shutdown begins": {func(_ *testing.T, c *chain) {
			go func() { _ = c.rt.Shutdown(context.Background()) }()
		}, false},
		"Shutdown loses patience": {func(t *testing.T, c *chain) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.ErrorIs(t, c.rt.Shutdown(ctx), context.Canceled)
		}, false},
	} {
		for _, asks := range []bool{false, true} {
			if c.quiet && !asks {
				continue // its context is not about the client, as that of other handlers
			}
			t.Run(name+map[bool]string{false: "/it waits", true: "/it asks another object"}[asks], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					elapsed := make(chan time.Duration, 1)
					began := time.Now()
					wait := func(ctx context.Context) {
						stops, gone := dog.Stopping(ctx), dog.ClientGone(ctx)
						if name == "Shutdown loses patience" { // which both precede
							stops, gone = nil, nil
						}
						_ = dog.Await(ctx, func() error {
							select {
							case <-stops:
							case <-gone:
							case <-ctx.Done():
							case <-time.After(time.Hour):
							}
							return nil
						})
						elapsed <- time.Since(began)
					}
					ch := &chain{returned: make(chan struct{})}
					var targets *dog.Namespace[target]
					h := fixture.NewRoomsWith(
						t, dog.Options{GossipTimeout: 10 * time.Hour}, dog.GroupOptions[fixture.Lobby]{Limit: 1},
						&fixture.Hooks{
							Receive: func(r *fixture.Room, _ http.ResponseWriter, req *http.Request) {
								ch.asker = r
								var ctx context.Context
								ctx, ch.give = context.WithCancel(req.Context())
								defer ch.give()
								if name != "the handler returns" {
									_, _ = r.Gossip(ctx, "well?")
									return
								}
								_ = dog.Await(ctx, func() error {
									go func() { _, _ = r.Gossip(req.Context(), "well?") }()
									<-ch.returned
									return nil
								})
							},
							Gossip: func(ctx context.Context, _ *fixture.Room, _ dog.Message) (any, error) {
								if !asks {
									wait(ctx)
									return nil, nil
								}
								_, _, err := fetch(ctx, targets.Named("back"), http.MethodGet, "/", "")
								return nil, err
							},
						},
					)
					_, err := h.Identify(context.Background(), "sibling")
					require.NoError(t, err)
					asker, err := h.Identify(context.Background(), "asker")
					require.NoError(t, err)
					options := &dog.ObjectOptions[target]{New: func() *target {
						return &target{serve: func(d *target, w http.ResponseWriter, r *http.Request) {
							if d.Name() == "front" {
								asker.ServeHTTP(w, r)
								return
							}
							wait(r.Context())
						}}
					}}
					targets, err = dog.RegisterObject(h.Runtime, "target", options)
					require.NoError(t, err)
					ch.rt, ch.front = h.Runtime, targets.Named("front")
					ctx, leave := context.WithCancel(context.Background())
					defer leave()
					ch.leave = leave
					served := make(chan struct{})
					go func() {
						defer close(served)
						defer func() { _ = recover() }() // an answer that is broken off
						ch.front.ServeHTTP(
							httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil),
						)
					}()
					time.Sleep(time.Minute)
					synctest.Wait() // for what the handlers have noted
					c.end(t, ch)
					require.Equal(t, time.Minute, <-elapsed)
					<-served
				})
			})
		}
	}
}
