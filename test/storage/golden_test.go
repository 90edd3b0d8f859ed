package storage_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/store"
)

var newGolden = flag.Bool("new-golden", false, "make the data directory of the present layout in testdata again")

// goldenDir is the data directory that a version with this layout has made.
func goldenDir(layout int) string { return fmt.Sprintf("testdata/layout-%d", layout) }

func makeGolden(t *testing.T, dir string) {
	h := openGolden(t, dir, "bob")
	stow(t, h.parcels.Named("a"), goldenTime)
	stow(t, h.parcels.New(), goldenTime)
	request(t, h.lobbies.Named("main"), "/lobby")
	require.NoError(t, h.rt.Shutdown(context.Background()))
	h = openGolden(t, dir, "bob") // what was stored goes into a table, and more into the log
	stow(t, h.parcels.Named("b"), goldenTime)
	request(t, h.halls.Named("main"), "/hall")
	require.Contains(t, sendOnce(t, h.lobbies.Named("main"), "ada"), `"in":0`)
	for _, uid := range []string{"ada", "bob"} {
		require.Contains(t, sendOnce(t, h.halls.Named("main"), uid), `"in":0`)
		require.Equal(t, uid, (<-h.told).Joined[0].UID)
	}
	h.commandAll(t)
	require.NoError(t, h.lobbies.Named("main").Broadcast(t.Context(), "kept"))
	require.NoError(t, h.halls.Named("main").Broadcast(t.Context(), "kept"))
	require.NoError(t, h.rt.Shutdown(context.Background()))
}

// Every layout there has ever been is opened, with all that is in it. A new one
// is made by: go test ./test/storage -run LayoutEverMade -new-golden
func TestLayout_OpensEveryLayoutEverMade(t *testing.T) {
	if *newGolden {
		require.NoError(t, os.RemoveAll(goldenDir(store.Layout)))
		makeGolden(t, goldenDir(store.Layout))
	}
	for layout := 1; layout <= store.Layout; layout++ {
		dir := filepath.Join(t.TempDir(), "data")
		require.NoError(t, os.CopyFS(dir, os.DirFS(goldenDir(layout))))
		for round := range 2 { // also after this version has written to it
			h := openGolden(t, dir, "")
			requireStowed(t, h.parcels.Named("a"), goldenTime)
			requireStowed(t, h.parcels.Named("b"), goldenTime)
			var names []string
			stored := 0
			for o, err := range h.parcels.List(t.Context(), dog.ObjectListOptions{}) {
				require.NoError(t, err)
				names = append(names, o.Name)
				stored++
				if o.Name == "" {
					random, err := h.parcels.ByID(o.ID)
					require.NoError(t, err)
					requireStowed(t, random, goldenTime)
				}
			}
			slices.Sort(names)
			require.Equal(t, []string{"", "a", "b"}, names)
			require.Equal(t, "200 /lobby in main", request(t, h.lobbies.Named("main"), "/"))
			require.Equal(t, "200 /hall in main", request(t, h.halls.Named("main"), "/"))
			requireMembers(t, h.lobbies.Named("main"), "ada")
			if round == 0 { // the change of whom OnPresence has not been told
				p := <-h.told
				require.Equal(t, []dog.Member{{UID: "bob", Value: json.RawMessage(`"of bob"`)}}, p.Joined)
				require.Equal(t, 2, p.Count)
			}
			requireMembers(t, h.halls.Named("main"), "ada", "bob")
			for _, history := range []dog.History{
				h.lobbies.Named("main").History(), h.halls.Named("main").History(),
			} {
				kept, err := history.Read("", 0)
				require.NoError(t, err)
				require.Len(t, kept.Messages, 1)
				require.Equal(t, "kept", kept.Messages[0].String())
			}
			require.Contains(t, sendOnce(t, h.lobbies.Named("main"), "ada"), `"in":1`)
			require.Contains(t, sendOnce(t, h.halls.Named("main"), "ada"), `"in":1`)
			h.requireCommands(t, []string{"20", "30"}[round])
			fill(t, h.parcels.Named("a"), "x")
			require.NoError(t, h.rt.Shutdown(t.Context()))
			require.Empty(t, h.told, "who was a member is not told again")
		}
	}
}

// requireMembers requires the members of a group, who all have a value.
func requireMembers[G, R any](t *testing.T, in dog.GroupStub[G, R], uids ...string) {
	t.Helper()
	members, err := in.Members(t.Context(), "", 0)
	require.NoError(t, err)
	var all []dog.Member
	for _, uid := range uids {
		all = append(all, dog.Member{UID: uid, Value: json.RawMessage(`"of ` + uid + `"`)})
	}
	require.Equal(t, all, members)
}

// keyKinds returns the constants of internal/store by which keys differ.
func keyKinds(t *testing.T) (prefixes, spaces map[byte]string) {
	prefixes, spaces = map[byte]string{}, map[byte]string{}
	for _, file := range []string{"identity.go", "object.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join("../../internal/store", file), nil, 0)
		require.NoError(t, err)
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.CHAR {
				return true
			}
			char, _, _, err := strconv.UnquoteChar(literal.Value[1:], '\'')
			require.NoError(t, err)
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Space" {
				spaces[byte(char)] = spec.Names[0].Name
			} else {
				prefixes[byte(char)] = spec.Names[0].Name
			}
			return true
		})
	}
	require.GreaterOrEqual(t, len(prefixes), 6)
	require.GreaterOrEqual(t, len(spaces), 5)
	return prefixes, spaces
}

// commandKinds returns the beginnings of the keys that an object has for
// package outbox.
func commandKinds(t *testing.T) map[string]bool {
	kinds := map[string]bool{hook.EpochKey: true}
	parsed, err := parser.ParseFile(token.NewFileSet(), "../../outbox/record.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if ok && literal.Kind == token.STRING && strings.HasPrefix(literal.Value, `"outbox/`) {
				kinds[strings.Trim(literal.Value, `"`)] = true
			}
		}
		return true
	})
	require.GreaterOrEqual(t, len(kinds), 6)
	return kinds
}

func TestLayout_GoldenStoreHasOneOfEveryKind(t *testing.T) {
	prefixes, spaces := keyKinds(t)
	commands := commandKinds(t)
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(dir, os.DirFS(goldenDir(store.Layout))))
	e, err := pebblekv.Open(pebblekv.Config{Dir: dir}, nil)
	require.NoError(t, err)
	for pair, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		delete(prefixes, pair.Key[0])
		if pair.Key[0] == 'o' {
			own := pair.Key[1+len(store.Base{}):]
			delete(spaces, own[0])
			maps.DeleteFunc(commands, func(kind string, _ bool) bool {
				return own[0] == byte(store.Keys) && strings.HasPrefix(string(own[1:]), kind)
			})
		}
	}
	var alarms []time.Duration
	for namespace := range uint32(10) {
		for due, err := range store.AlarmsAfter(e, store.DueAlarm{Namespace: namespace}) {
			require.NoError(t, err)
			alarms = append(alarms, time.Unix(0, due.At).Sub(goldenTime).Round(time.Second))
		}
	}
	require.NoError(t, e.Close())
	require.ElementsMatch(
		t, []time.Duration{0, 0, 0, 23 * time.Hour}, alarms, "what wakes objects is found where this layout has it",
	)
	require.Empty(t, prefixes)
	require.Empty(t, spaces)
	require.Empty(t, commands)
	tables, err := filepath.Glob(filepath.Join(goldenDir(store.Layout), "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables, "a part is in a table, another one in the log")
}
