package dog_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
)

func TestASocketWhoseOnOpenCouldNotStartGetsItsOnCloseOnce(t *testing.T) {
	for name, end := range map[string]func(ctx context.Context, v *venue) error{
		"OnStart fails":  func(context.Context, *venue) error { return errors.New("not now") },
		"OnStart panics": func(context.Context, *venue) error { panic("a bug") },
		"the object is reset": func(ctx context.Context, v *venue) error {
			go func() { _ = v.abort(errors.New("second")) }()
			<-ctx.Done()
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			overOwners(t, func(t *testing.T, kind string) {
				engine := storetest.New()
				options, _ := logged()
				options.Store = asStore(engine)
				var did lines
				var v *venue
				starts := 0
				v = newVenue(t, kind, options, &owners{
					start: func(ctx context.Context, o owner) error {
						if starts++; starts == 2 {
							return end(ctx, v)
						}
						return o.Storage().Put("k", nil)
					},
					open: func(context.Context, owner, *dog.Socket) error { return did.add("open") },
					close: func(_ context.Context, _ owner, _ *dog.Socket, code int, _ string) error {
						return did.add("close %d", code)
					},
				})
				engine.Flush()
				t.Cleanup(engine.Prompt)
				ada := v.dial("ada")
				require.NoError(t, v.abort(errors.New("first"))) // between Connect and OnOpen
				synctest.Wait()
				engine.Prompt()
				require.Equal(t, "[] 1011 ", v.outcome(ada))
				elapse(time.Minute)
				require.Equal(t, []string{"close 1011"}, did.take())
				require.Equal(t, 3, starts)
			})
		})
	}
}
