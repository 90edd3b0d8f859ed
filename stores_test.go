package dog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/store/storetest"
)

// secondDir names, in the environment of a second process, the data directory that the first one has open.
const secondDir = "DOG_SECOND_DIR"

func TestASecondProcessIsToldThatTheDirectoryIsInUse(t *testing.T) {
	if dir := os.Getenv(secondDir); dir != "" {
		_, err := dog.New(dog.Options{Store: disk.At(dir)})
		fmt.Println(errors.Is(err, dog.ErrStoreLocked), err)
		os.Exit(0)
	}
	dir := filepath.Join(t.TempDir(), "data")
	o := newOffice(t, "parcel", dog.Options{Store: disk.At(dir)})
	fill(t, o.Named("a"), "x")
	second := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	second.Env = append(os.Environ(), secondDir+"="+dir)
	out, err := second.CombinedOutput()
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(out), "true "), "%s", out)
	require.Contains(t, string(out), dir, "it says which directory")
	fill(t, o.Named("a"), "y") // the first is not disturbed
	require.NoError(t, o.rt.Shutdown(t.Context()))
	again := newOffice(t, "parcel", dog.Options{Store: disk.At(dir)})
	require.Equal(t, "y", contentOf(t, again.Named("a")))
}

func TestABackupThatIsMadeWhileObjectsWriteHasWholeTurns(t *testing.T) {
	const objects, turns = 4, 20
	dir := t.TempDir()
	rt, cells := newTables(t, disk.At(filepath.Join(dir, "data")), countable)
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	var acknowledged [objects]atomic.Int64
	begun := make(chan struct{}, objects)
	for i := range objects {
		stub := cells.Named(strconv.Itoa(i))
		writing.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				if err := turnIn(t, stub, func(s *dog.Storage) error { storeBoth(t, s, n); return nil }); err != nil {
					t.Errorf("turn %d of %d: %v", n, i, err)
					return
				}
				acknowledged[i].Store(int64(n))
				if n == turns {
					begun <- struct{}{}
				}
			}
		})
	}
	for range objects {
		<-begun
	}
	var before [objects]int64
	for i := range before {
		before[i] = acknowledged[i].Load()
	}
	copied := filepath.Join(dir, "copy")
	err := rt.Backup(t.Context(), copied)
	cancel()
	writing.Wait()
	require.NoError(t, err)

	_, restored := newTables(t, disk.At(copied), countable)
	for i := range objects {
		require.NoError(t, turnIn(t, restored.Named(strconv.Itoa(i)), func(s *dog.Storage) error {
			n, _, err := dog.QueryRowAs[int](s.SQL(), "SELECT count(*) FROM t")
			require.NoError(t, err)
			require.GreaterOrEqual(t, int64(n), before[i], "it has what was there before")
			whole := make([]int, n)
			for k := range whole {
				whole[k] = k + 1
			}
			requireBoth(t, s, whole...)
			return nil
		}))
	}
}

func TestAFileOfAnObjectIsReadByTheCommandLineTool(t *testing.T) {
	tool, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("there is no sqlite3 here")
	}
	file := filepath.Join(t.TempDir(), "a.db")
	o := newOffice(t, "parcel", dog.Options{Store: disk.Memory()})
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
		require.Equal(t, []string{"one", "two", "tool"}, sqlList[string](t, p.Storage(), "SELECT name FROM things ORDER BY id"))
		return nil
	}))
}

func TestMoreObjectsUseSQLThanDatabasesStayOpen(t *testing.T) {
	keep := disk.With(disk.Options{Dir: t.TempDir(), OpenDatabases: 2})
	_, cells := newTables(t, keep, countable)
	for round := range 3 {
		for i := range 20 {
			require.NoError(t, turnIn(t, cells.Named(strconv.Itoa(i)), func(s *dog.Storage) error {
				want := make([]int, round)
				for n := range want {
					want[n] = n
				}
				requireBoth(t, s, want...)
				storeBoth(t, s, round)
				return nil
			}))
		}
	}
}

func TestWhatChangesNothingHoldsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		engine := storetest.New() // nothing becomes durable
		o := newOffice(t, "parcel", dog.Options{Store: asStore(engine)})
		t.Cleanup(engine.Prompt)
		engine.Flush()
		before := engine.Commits()
		require.NoError(t, dog.CallErr(t.Context(), o.Named("a"), (*parcel).Do, func(_ context.Context, p *parcel) error {
			s := p.Storage()
			_, _, err := s.Get("x")
			_, failed := s.Delete("x", "y")
			_, unset := s.Alarms().Delete("z")
			for _, err := range s.List(dog.ListOptions{}) {
				require.NoError(t, err)
			}
			undone := s.Transaction(func() error {
				require.NoError(t, s.Put("x", nil))
				return errNo
			})
			require.ErrorIs(t, undone, errNo)
			return errors.Join(err, failed, unset)
		}))
		require.Equal(t, before, engine.Commits())
	})
}
