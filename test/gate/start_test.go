package gate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// badStarter is an object that stores something, and whose later starts fail
// with what they read of that.
type badStarter struct {
	dog.Object
	starts *atomic.Int32
	fail   func(c *badStarter, secret string) error
}

func (c *badStarter) OnStart(context.Context) error {
	if c.starts.Add(1) == 1 {
		return nil
	}
	secret, _, err := c.Storage().Get("secret")
	if err != nil {
		return err
	}
	time.Sleep(time.Second) // so that others wait together with the caller that started it
	return c.fail(c, string(secret))
}

func (c *badStarter) Keep(context.Context) error    { return c.Storage().Put("secret", []byte("secret")) }
func (c *badStarter) Nothing(context.Context) error { return nil }

func (c *badStarter) Receive(http.ResponseWriter, *http.Request) error { return nil }

func TestGate_ErrorOfAFailedStartWaitsForEarlierWrites(t *testing.T) {
	fails := map[string]func(c *badStarter, secret string) error{
		"an error": func(_ *badStarter, secret string) error { return fmt.Errorf("there is a %s", secret) },
		"an error after a Put": func(c *badStarter, secret string) error {
			return errors.Join(c.Storage().Put("other", nil), fmt.Errorf("there is a %s", secret))
		},
		"a panic": func(_ *badStarter, secret string) error { panic("there is a " + secret) },
		"an abort": func(c *badStarter, secret string) error {
			c.Abort(fmt.Errorf("there is a %s", secret))
			return nil
		},
	}
	asks := map[string]func(to dog.Stub[badStarter]) error{
		"Call": func(to dog.Stub[badStarter]) error {
			return dog.CallErr0(context.Background(), to, (*badStarter).Nothing)
		},
		"RoundTrip": func(to dog.Stub[badStarter]) error { // a client never gets the details of an error
			req, err := http.NewRequest(http.MethodGet, "/", nil)
			if err != nil {
				return err
			}
			res, err := to.RoundTrip(req)
			if err != nil {
				return err
			}
			return errors.Join(res.Body.Close(), fmt.Errorf("status %d", res.StatusCode))
		},
	}
	fates := map[string]struct {
		then     func(*storetest.Engine)
		revealed bool // the secret
	}{
		"durable": {(*storetest.Engine).Flush, true},
		"lost":    {func(e *storetest.Engine) { e.Fail(dog.ErrStoreFailed) }, false},
	}
	for how, fail := range fails {
		for way, ask := range asks {
			for fate, f := range fates {
				t.Run(how+"/"+way+"/"+fate, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						engine, starts := storetest.New(), new(atomic.Int32)
						rt := dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)})
						badStarters, err := dog.RegisterObject(
							rt, "badStarter",
							&dog.ObjectOptions[badStarter]{
								New: func() *badStarter { return &badStarter{starts: starts, fail: fail} },
							},
						)
						require.NoError(t, err)
						engine.Flush()
						t.Cleanup(engine.Prompt)
						it := badStarters.Named("it")
						kept := make(chan error, 1)
						go func() { kept <- dog.CallErr0(context.Background(), it, (*badStarter).Keep) }()
						synctest.Wait()
						require.NoError(t, it.Abort(io.ErrNoProgress))

						answers := make(chan error, 3) // of one that starts it and of two that wait
						for range cap(answers) {
							go func() { answers <- ask(it) }()
						}
						fixture.Elapse(time.Minute)
						require.EqualValues(t, 2, starts.Load())
						require.Empty(t, answers, "too early")
						require.Empty(t, kept)
						f.then(engine)
						for range cap(answers) {
							err := <-answers
							if way == "RoundTrip" {
								require.EqualError(
									t, err, map[bool]string{true: "status 500", false: "status 503"}[f.revealed],
								)
								continue
							}
							require.ErrorIs(t, err, dog.ErrReset)
							require.Equal(t, f.revealed, strings.Contains(err.Error(), "there is a secret"), err)
						}
						require.Equal(t, f.revealed, <-kept == nil)
					})
				})
			}
		}
	}
}

func TestGate_WaitForTheErrorOfAFailedStartEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, starts := storetest.New(), new(atomic.Int32)
		badStarters, err := dog.RegisterObject(
			dogtest.New(t, dog.Options{Store: fixture.StoreOf(engine)}), "badStarter",
			&dog.ObjectOptions[badStarter]{New: func() *badStarter {
				return &badStarter{
					starts: starts,
					fail:   func(_ *badStarter, secret string) error { return errors.New(secret) },
				}
			}},
		)
		require.NoError(t, err)
		engine.Flush()
		t.Cleanup(engine.Prompt)
		it := badStarters.Named("it")
		go func() { _ = dog.CallErr0(context.Background(), it, (*badStarter).Keep) }()
		synctest.Wait()
		require.NoError(t, it.Abort(io.ErrNoProgress))
		ctx, leave := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- dog.CallErr0(ctx, it, (*badStarter).Nothing) }()
		synctest.Wait()
		require.Empty(t, result)
		leave()
		require.ErrorIs(t, <-result, context.Canceled)
	})
}
