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

func TestImport_ThatHasReadEverythingSucceedsAlthoughItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		engine := &filing{Engine: storetest.New()}
		o := newParcels(t, "parcel", dog.Options{Store: fixture.OpenedStore(&abandoned{engine, cancel})})
		t.Cleanup(engine.Prompt)
		engine.Flush()
		ended := make(chan error, 1)
		go func() { ended <- o.Named("a").Import(ctx, "file") }()
		synctest.Wait()
		require.Error(t, ctx.Err())
		require.Empty(t, ended, "it is not known yet whether it is durable")
		engine.Prompt()
		require.NoError(t, <-ended)
		require.Equal(t, "x", contentOf(t, o.Named("a")))
	})
}

func TestImport_WhoseDataIsLostFailsAlthoughItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		engine := &filing{Engine: storetest.New()}
		o := newParcels(t, "parcel", dog.Options{Store: fixture.OpenedStore(&abandoned{engine, cancel})})
		t.Cleanup(engine.Prompt)
		engine.Flush()
		ended := make(chan error, 1)
		go func() { ended <- o.Named("a").Import(ctx, "file") }()
		synctest.Wait()
		lost := errors.New("lost")
		engine.Fail(lost)
		err := <-ended
		require.ErrorIs(t, err, dog.ErrReset)
		require.ErrorIs(t, err, lost)
	})
}
