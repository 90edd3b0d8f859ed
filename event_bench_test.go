package dog

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/turn"
)

type benchGroup struct{ Group }

func (*benchGroup) Receive(http.ResponseWriter, *http.Request) error { return nil }

// BenchmarkEvent is an uncontended event: the turn is taken, a handler run, the
// turn given back.
func BenchmarkEvent(b *testing.B) {
	rt, err := New(Options{})
	require.NoError(b, err)
	replicas, err := RegisterReplica[Replica](rt, "replica", nil)
	require.NoError(b, err)
	groups, err := RegisterGroup(rt, "group", replicas, &GroupOptions[benchGroup]{Limit: 1})
	require.NoError(b, err)
	o, err := groups.Named("main").to.(*address).object()
	require.NoError(b, err)

	ctx := b.Context()
	ran := 0
	handle := func(context.Context, any) error { ran++; return nil }
	// the first one starts the group
	require.NoError(b, o.Deliver(ctx, &turn.Origin{}, object.EventMessage, handle))
	b.ReportAllocs()
	for b.Loop() {
		if err := o.Deliver(ctx, &turn.Origin{}, object.EventMessage, handle); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	require.Equal(b, b.N+1, ran)
	require.NoError(b, rt.Shutdown(ctx))
}
