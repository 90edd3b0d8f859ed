package history_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// writer stores or sends a text.
type writer struct{ dog.Object }

// Write stores the text.
func (w *writer) Write(_ context.Context, text string) error {
	return w.Storage().Put("text", []byte(text))
}

// Say sends the text to all.
func (w *writer) Say(_ context.Context, text string) error { return w.Broadcast(text) }

// The positions of an object do not lead into the history of one that was
// imported under its name.
func TestHistory_ImportBeginsAnother(t *testing.T) {
	for name, durable := range map[string]bool{"in memory": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			rt, err := dog.New(dog.Options{Store: disk.Memory()})
			require.NoError(t, err)
			defer func() { require.NoError(t, rt.Shutdown(t.Context())) }()
			writers, err := dog.RegisterObject(rt, "writer", &dog.ObjectOptions[writer]{
				History: dog.HistoryOptions{Count: 100, Durable: durable},
			})
			require.NoError(t, err)
			from, to := writers.Named("from"), writers.Named("to")
			file := filepath.Join(t.TempDir(), "from.sqlite")
			require.NoError(t, dog.CallErr(t.Context(), from, (*writer).Write, "imported"))
			require.NoError(t, from.Export(t.Context(), file))
			require.NoError(t, dog.CallErr(t.Context(), to, (*writer).Say, "before"))
			before, err := to.History().Read("", 10)
			require.NoError(t, err)
			require.Len(t, before.Messages, 1)
			require.NoError(t, to.Import(t.Context(), file))

			page, err := to.History().Read(before.Next, 10)
			require.NoError(t, err)
			require.Equal(t, dog.GapEpoch, page.Gap)
			require.Empty(t, page.Messages)
		})
	}
}

// The same for a group.
func TestHistory_ImportOfAGroupBeginsAnother(t *testing.T) {
	for name, durable := range map[string]bool{"in memory": false, "durable": true} {
		t.Run(name, func(t *testing.T) {
			party := newSilentGroups(t, disk.Memory(), durable)
			from, to := party.groups.Named("from"), party.groups.Named("to")
			file := filepath.Join(t.TempDir(), "from.sqlite")
			require.NoError(t, dog.CallErr(t.Context(), from.Stub, (*silentGroup).Write, "imported"))
			require.NoError(t, from.Export(t.Context(), file))
			require.NoError(t, to.Broadcast(t.Context(), "before"))
			before, err := to.History().Read("", 10)
			require.NoError(t, err)
			require.Len(t, before.Messages, 1)
			require.NoError(t, to.Import(t.Context(), file))

			page, err := to.History().Read(before.Next, 10)
			require.NoError(t, err)
			require.Equal(t, dog.GapEpoch, page.Gap)
			require.Empty(t, page.Messages)
			require.NoError(t, to.Broadcast(t.Context(), "after"))
			page, err = to.History().Read(page.Next, 10)
			require.NoError(t, err)
			require.Empty(t, page.Gap)
			require.Equal(t, []string{"after"}, texts(page))
		})
	}
}
