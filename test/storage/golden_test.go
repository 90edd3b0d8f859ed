package storage_test

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/pebblekv"
	"github.com/godurable/dog/internal/store"
)

var newGolden = flag.Bool("new-golden", false, "make the data directory of the present layout in testdata again")

// goldenDir is the data directory that a version with this layout has made.
func goldenDir(layout int) string { return fmt.Sprintf("testdata/layout-%d", layout) }

// goldenTime is so late that nothing of a golden store rings in a test.
var goldenTime = time.Date(2200, 1, 2, 3, 4, 5, 6, time.UTC)

type goldenLobby struct{ dog.Group }

type goldenHall struct{ dog.Group }

func (h *goldenHall) Clusterize(context.Context, string) (string, error) { return "hall", nil }

type goldenRoom struct{ dog.Replica }

// Receive connects clients. Of other requests it stores the path, and answers
// with what was stored before.
func (r *goldenRoom) Receive(w http.ResponseWriter, req *http.Request) error {
	if dog.IsUpgrade(req) {
		_, err := r.Connect(w, req, nil)
		return err
	}
	before, _, err := r.Storage().Get("said")
	if err == nil && req.URL.Path != "/" {
		err = r.Storage().Put("said", []byte(req.URL.Path))
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil
	}
	_, _ = fmt.Fprintf(w, "%s in %s", before, r.GroupName())
	return nil
}

func (r *goldenRoom) OnAlarm(context.Context, dog.Alarm) error { return nil }

// goldenStore is the program whose data directory it is.
type goldenStore struct {
	rt      *dog.Runtime
	parcels *parcels
	lobbies *dog.Groups[goldenLobby, goldenRoom]
	halls   *dog.Groups[goldenHall, goldenRoom]
}

func openGolden(t *testing.T, dir string) *goldenStore {
	o := newParcels(t, "parcel", dog.Options{
		Store:      disk.At(dir),
		Migrations: []dog.Migration{{Tag: "first", Renamed: map[string]string{"box": "parcel"}}},
	})
	h := &goldenStore{rt: o.rt, parcels: o}
	var err error
	rooms, err := dog.RegisterReplica[goldenRoom](h.rt, "room", nil)
	require.NoError(t, err)
	h.lobbies, err = dog.RegisterGroup(h.rt, "lobby", rooms, &dog.GroupOptions[goldenLobby]{
		Limit: 9, History: dog.HistoryOptions{Age: 200 * 365 * 24 * time.Hour},
		Presence: dog.Presence{Grace: time.Hour},
	})
	require.NoError(t, err)
	others, err := dog.RegisterReplica[goldenRoom](h.rt, "other", nil)
	require.NoError(t, err)
	h.halls, err = dog.RegisterGroup(h.rt, "hall", others, &dog.GroupOptions[goldenHall]{
		Limit: 9, History: dog.HistoryOptions{Age: 200 * 365 * 24 * time.Hour, Durable: true},
	})
	require.NoError(t, err)
	return h
}

// request sends a request to a replica of a group.
func request[G, R any](t *testing.T, group dog.GroupStub[G, R], path string) string {
	t.Helper()
	to, err := group.Identify(t.Context(), "ada")
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	require.NoError(t, err)
	answer, err := to.RoundTrip(req)
	require.NoError(t, err)
	defer answer.Body.Close()
	var b strings.Builder
	_, err = fmt.Fprint(&b, answer.StatusCode, " ")
	require.NoError(t, err)
	buf := make([]byte, 1000)
	n, _ := answer.Body.Read(buf)
	return b.String() + string(buf[:n])
}

// sendOnce sends the first message of a session to the lobby, and returns the
// hello of the connection.
func (h *goldenStore) sendOnce(t *testing.T) (hello string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		room, err := h.lobbies.Named("main").Identify(req.Context(), "ada")
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		room.ServeHTTP(w, req)
	}))
	defer srv.Close()
	ws, _, err := websocket.Dial(t.Context(), srv.URL+"/?session=0123456789abcdef", &websocket.DialOptions{
		Subprotocols: []string{"dog.v1"},
	})
	require.NoError(t, err)
	defer ws.CloseNow()
	_, first, err := ws.Read(t.Context())
	require.NoError(t, err)
	require.NoError(t, ws.Write(t.Context(), websocket.MessageText, []byte("m1\nfirst")))
	_, ack, err := ws.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a1", string(ack))
	return string(first)
}

func makeGolden(t *testing.T, dir string) {
	h := openGolden(t, dir)
	stow(t, h.parcels.Named("a"), goldenTime)
	stow(t, h.parcels.New(), goldenTime)
	request(t, h.lobbies.Named("main"), "/lobby")
	require.NoError(t, h.rt.Shutdown(context.Background()))
	h = openGolden(t, dir) // what was stored goes into a table, and more into the log
	stow(t, h.parcels.Named("b"), goldenTime)
	request(t, h.halls.Named("main"), "/hall")
	require.Contains(t, h.sendOnce(t), `"in":0`)
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
		for range 2 { // also after this version has written to it
			h := openGolden(t, dir)
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
			members, err := h.lobbies.Named("main").MemberCount(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, members)
			for _, history := range []dog.History{
				h.lobbies.Named("main").History(), h.halls.Named("main").History(),
			} {
				kept, err := history.Read("", 0)
				require.NoError(t, err)
				require.Len(t, kept.Messages, 1)
				require.Equal(t, "kept", kept.Messages[0].String())
			}
			require.Contains(t, h.sendOnce(t), `"in":1`)
			fill(t, h.parcels.Named("a"), "x")
			require.NoError(t, h.rt.Shutdown(t.Context()))
		}
	}
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

func TestLayout_GoldenStoreHasOneOfEveryKind(t *testing.T) {
	prefixes, spaces := keyKinds(t)
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.CopyFS(dir, os.DirFS(goldenDir(store.Layout))))
	e, err := pebblekv.Open(pebblekv.Config{Dir: dir}, nil)
	require.NoError(t, err)
	for pair, err := range e.Scan(nil, nil, false) {
		require.NoError(t, err)
		delete(prefixes, pair.Key[0])
		if pair.Key[0] == 'o' {
			delete(spaces, pair.Key[1+len(store.Base{})])
		}
	}
	alarms := 0
	for namespace := range uint32(10) {
		for due, err := range store.AlarmsAfter(e, store.DueAlarm{Namespace: namespace}) {
			require.NoError(t, err)
			require.Equal(t, goldenTime.UnixNano(), due.At)
			alarms++
		}
	}
	require.NoError(t, e.Close())
	require.Equal(t, 3, alarms, "what wakes objects is found where this layout has it")
	require.Empty(t, prefixes)
	require.Empty(t, spaces)
	tables, err := filepath.Glob(filepath.Join(goldenDir(store.Layout), "*.sst"))
	require.NoError(t, err)
	require.NotEmpty(t, tables, "a part is in a table, another one in the log")
}
