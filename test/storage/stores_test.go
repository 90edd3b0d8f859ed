package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// secondDir names, in the environment of a second process, the data directory
// that the first one has open.
const secondDir = "DOG_SECOND_DIR"

func TestStorage_SecondProcessGetsErrStoreLocked(t *testing.T) {
	if dir := os.Getenv(secondDir); dir != "" {
		_, err := dog.New(dog.Options{Store: disk.At(dir)})
		fmt.Println(errors.Is(err, dog.ErrStoreLocked), err)
		os.Exit(0)
	}
	dir := filepath.Join(t.TempDir(), "data")
	o := newParcels(t, "parcel", dog.Options{Store: disk.At(dir)})
	fill(t, o.Named("a"), "x")
	second := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	second.Env = append(os.Environ(), secondDir+"="+dir)
	out, err := second.CombinedOutput()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(out), "true "), "%s", out)
	require.Contains(t, string(out), dir, "it names the directory")
	fill(t, o.Named("a"), "y") // the first is not disturbed
	require.NoError(t, o.rt.Shutdown(t.Context()))
	again := newParcels(t, "parcel", dog.Options{Store: disk.At(dir)})
	require.Equal(t, "y", contentOf(t, again.Named("a")))
}

func TestStorage_ExportedFileIsReadByTheCommandLineTool(t *testing.T) {
	tool, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("there is no sqlite3 here")
	}
	file := filepath.Join(t.TempDir(), "a.db")
	o := newParcels(t, "parcel", dog.Options{Store: disk.Memory()})
	stow(t, o.Named("a"), time.Now().Add(time.Hour))
	require.NoError(t, o.Named("a").Export(t.Context(), file))
	for _, c := range []struct{ query, want string }{
		{"PRAGMA integrity_check", "ok"},
		{"SELECT group_concat(name) FROM things", "one,two"},
		{"INSERT INTO things (name) VALUES ('tool')", ""},
	} {
		out, err := exec.Command(tool, file, c.query).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, c.want, strings.TrimSpace(string(out)))
	}
	require.NoError(t, o.Named("b").Import(t.Context(), file), "what the tool has changed comes back")
	require.NoError(t, dog.CallErr(t.Context(), o.Named("b"), (*parcel).Do, func(_ context.Context, p *parcel) error {
		names, found, err := dog.QueryRowAs[string](p.Storage().SQL(), "SELECT group_concat(name) FROM things")
		require.True(t, found)
		require.Equal(t, "one,two,tool", names)
		return err
	}))
}

func TestStorage_OperationsWithoutChangesHoldNoOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := storetest.New() // nothing becomes durable
		o := newParcels(t, "parcel", dog.Options{Store: fixture.StoreOf(engine)})
		t.Cleanup(engine.Prompt)
		engine.Flush()
		before := engine.Commits()
		require.NoError(
			t,
			dog.CallErr(t.Context(), o.Named("a"), (*parcel).Do, func(_ context.Context, p *parcel) error {
				s := p.Storage()
				_, _, err := s.Get("x")
				_, failed := s.Delete("x", "y")
				_, unset := s.Alarms().Delete("z")
				for _, err := range s.List(dog.ListOptions{}) {
					require.NoError(t, err)
				}
				errRefused := errors.New("refused")
				undone := s.Transaction(func() error {
					require.NoError(t, s.Put("x", nil))
					return errRefused
				})
				require.ErrorIs(t, undone, errRefused)
				return errors.Join(err, failed, unset)
			}),
		)
		require.Equal(t, before, engine.Commits())
	})
}
