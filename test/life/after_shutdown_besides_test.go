package life_test

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/shard"
	"github.com/godurable/dog/test/internal/fixture"
	"github.com/godurable/dog/test/internal/surface"
)

// remains is a leftover with what other packages have made of it.
type remains struct {
	*leftover
	queue  outbox.Queue // of the object
	device *dog.Socket  // attached to queue
	shards *shard.Set[fixture.SocketObject]
}

// besidesAfterShutdown is afterShutdown for packages outbox and shard.
var besidesAfterShutdown = map[string]struct {
	want error // as in outcome
	call func(r *remains) error
}{
	"outbox.Queue.Attach": {dog.ErrOutsideTurn, func(r *remains) error { return r.queue.Attach(r.device) }},
	"outbox.Queue.Bind": {dog.ErrShutdown, func(r *remains) error {
		return r.queue.Bind(&r.object.Object, outbox.Policy{})
	}},
	"outbox.Queue.Cancel":  {dog.ErrOutsideTurn, func(r *remains) error { return only(r.queue.Cancel(1)) }},
	"outbox.Queue.Dead":    {dog.ErrOutsideTurn, func(r *remains) error { return last(r.queue.Dead()) }},
	"outbox.Queue.Discard": {dog.ErrOutsideTurn, func(r *remains) error { return only(r.queue.Discard(1)) }},
	"outbox.Queue.OnAlarm": {dog.ErrOutsideTurn, func(r *remains) error {
		return r.queue.OnAlarm(r.ctx, dog.Alarm{Name: outbox.Alarm})
	}},
	"outbox.Queue.Outcome": {dog.ErrOutsideTurn, func(r *remains) error { return only2(r.queue.Outcome("k")) }},
	"outbox.Queue.Put":     {dog.ErrOutsideTurn, func(r *remains) error { return only(r.queue.Put("x")) }},
	"outbox.Queue.Requeue": {dog.ErrOutsideTurn, func(r *remains) error { return only2(r.queue.Requeue(1)) }},
	"outbox.Queue.Status":  {dog.ErrOutsideTurn, func(r *remains) error { return only(r.queue.Status()) }},
	"outbox.Queue.Waiting": {dog.ErrOutsideTurn, func(r *remains) error { return last(r.queue.Waiting()) }},
	"outbox.Ask": {dog.ErrOutsideTurn, func(r *remains) error {
		return only(outbox.Ask[string](outside(), &r.queue, "x"))
	}},

	"shard.Ask": {dog.ErrShutdown, func(r *remains) error {
		results, err := shard.Ask(
			outside(), r.shards, shard.Options{},
			func(ctx context.Context, s dog.Stub[fixture.SocketObject]) (int, error) {
				return dog.Call0(ctx, s, (*fixture.SocketObject).Count)
			},
		)
		return errors.Join(err, shard.Errors(results))
	}},
	"shard.Errors": {nil, func(*remains) error { return shard.Errors([]shard.Result[int]{{}}) }},
	"shard.New":    {nil, func(r *remains) error { return only(shard.New(r.objects, "shards", 2)) }},
}

func TestAfterShutdown_CallsOfOtherPackagesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := newLeftover(t, &fixture.OwnerHooks{})
		r := &remains{leftover: l}
		srv := dogtest.Serve(t, l.stub().WithUID("device"))
		srv.DialWith("/", dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}).Send("y") // it takes commands
		synctest.Wait()
		require.NoError(t, dog.CallErr(t.Context(), l.stub(), (*fixture.SocketObject).Do,
			func(_ context.Context, o *fixture.SocketObject) error {
				for s := range o.SocketsOf("device") {
					r.device = s
				}
				return errors.Join(r.queue.Bind(&o.Object, outbox.Policy{}), r.queue.Attach(r.device))
			}))
		var err error
		r.shards, err = shard.New(l.objects, "shards", 2)
		require.NoError(t, err)
		shutdown(t, l.rt)
		for name, outcome := range besidesAfterShutdown {
			err := outcome.call(r)
			if outcome.want == nil {
				require.NoError(t, err, name)
			} else {
				require.ErrorIs(t, err, outcome.want, name)
			}
		}
		require.False(t, r.queue.Connected())
	})
}

func TestAfterShutdown_TableOfOtherPackagesIsComplete(t *testing.T) {
	var fail []string
	for _, name := range []string{"outbox", "shard"} {
		p := surface.Read(t, filepath.Join("..", "..", name))
		functions := p.Functions()
		for _, typ := range p.Types() {
			if !slices.Contains(fixture.ValueTypes, name+"."+typ) {
				functions = append(functions, p.Methods(typ)...)
			}
		}
		for _, f := range functions {
			if f.Decl.Type.Results != nil && mentionsError(f.Decl.Type.Results) {
				fail = append(fail, name+"."+f.String())
			}
		}
	}
	require.ElementsMatch(t, fail, slices.Collect(maps.Keys(besidesAfterShutdown)))
}
