package storage_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// abandoned is an import whose caller gives up when everything has been read.
type abandoned struct {
	*filing
	read func()
}

func (l *abandoned) Import(
	ctx context.Context, file string, pages store.Pages, limits store.SQLLimits, tables []store.Table,
	row func(string, []any) error,
) error {
	defer l.read()
	return l.filing.Import(ctx, file, pages, limits, tables, row)
}

// abandon begins an import into the parcel a, whose context ends when it has
// read everything. Nothing is durable yet.
func abandon(t *testing.T) (o *parcels, engine *filing, ended <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	engine = &filing{Engine: storetest.New()}
	o = newParcels(t, "parcel", dog.Options{Store: fixture.OpenedStore(&abandoned{engine, cancel})})
	t.Cleanup(engine.Prompt)
	engine.Flush()
	result := make(chan error, 1)
	go func() { result <- o.Named("a").Import(ctx, "file") }()
	synctest.Wait()
	require.Error(t, ctx.Err())
	return o, engine, result
}

func TestImport_SucceedsIfItsContextEndsAfterReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, engine, ended := abandon(t)
		require.Empty(t, ended, "it is not known yet whether it is durable")
		engine.Prompt()
		require.NoError(t, <-ended)
		require.Equal(t, "x", contentOf(t, o.Named("a")))
	})
}

func TestImport_FailsIfItsDataIsLostAfterItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, engine, ended := abandon(t)
		lost := errors.New("lost")
		engine.Fail(lost)
		err := <-ended
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, lost)
	})
}
