package dogview_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogview"
	"github.com/godurable/dog/outbox"
)

func TestObjects_ArePagedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		for i := range 250 {
			w.do(fmt.Sprintf("a%03d", i), func(n *Note) error { return n.Storage().Put("k", nil) })
		}
		w.do("b", func(*Note) error { return nil })
		unnamed := w.notes.New()
		require.NoError(t, dog.CallErr(t.Context(), unnamed, (*Note).Do, func(*Note) error { return nil }))

		var names []string
		for after, pages := "-", 0; after != ""; pages++ {
			after = strings.Trim(after, "-")
			p := get[page[dog.ObjectEntry]](w, "objects", "type", "note", "prefix", "a", "after", after)
			for _, e := range p.Items {
				names = append(names, e.Name)
				require.True(t, e.Live && e.Stored)
			}
			after = p.Next
			require.Less(t, pages, 3)
		}
		require.Len(t, names, 250)
		require.Equal(t, "a249", names[249])

		p := get[page[dog.ObjectEntry]](w, "objects", "type", "note", "after", "na249")
		require.Len(t, p.Items, 2)
		require.Equal(t, "b", p.Items[0].Name)
		require.False(t, p.Items[0].Stored)
		require.Equal(t, unnamed.ID(), p.Items[1].ID)
		p = get[page[dog.ObjectEntry]](w, "objects", "type", "note", "after", "i"+unnamed.ID().String())
		require.Empty(t, p.Items)
		w.refused(http.StatusNotFound, "objects", "type", "nobody")
		w.refused(http.StatusBadRequest, "objects", "type", "note", "after", "x")
	})
}

func TestObject_IsFoundInMemoryOrInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		put := func(n *Note) error { return n.Storage().Put("k", nil) }
		w.do("ab", put)
		w.do("a", put)
		unnamed := w.notes.New()
		require.NoError(t, dog.CallErr(t.Context(), unnamed, (*Note).Do, put))
		id := w.notes.Named("a").ID().String()
		o := get[dog.ObjectEntry](w, "object", "type", "note", "id", id)
		require.Equal(t, "a", o.Name)
		require.True(t, o.Live && o.Stored)
		w.evict()
		o = get[dog.ObjectEntry](w, "object", "type", "note", "id", id)
		require.Equal(t, "a", o.Name)
		require.True(t, !o.Live && o.Stored)
		o = get[dog.ObjectEntry](w, "object", "type", "note", "id", unnamed.ID().String())
		require.Equal(t, unnamed.ID(), o.ID)
		require.True(t, !o.Live && o.Stored)
		w.refused(http.StatusNotFound, "object", "type", "note", "id", w.notes.Named("c").ID().String())
		w.refused(http.StatusNotFound, "object", "type", "seat", "id", id) // of another type
		w.refused(http.StatusBadRequest, "object", "type", "note", "id", "x")
	})
}

// Replicas are addressed by a name in a group, so a listing by name has none.
func TestObject_NamedReplicaIsFoundInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{Outbox: commands(outbox.Command{Number: 7})})
		voices, err := dog.RegisterReplica[Seat](w.rt, "voice", nil)
		require.NoError(t, err)
		choirs, err := dog.RegisterGroup(w.rt, "choir", voices, &dog.GroupOptions[Choir]{Limit: 2})
		require.NoError(t, err)
		voice, err := choirs.Named("a").Identify(t.Context(), "ada")
		require.NoError(t, err)
		require.NoError(t, dog.CallErr0(t.Context(), voice, (*Seat).Keep))
		time.Sleep(10 * time.Minute)
		id := voice.ID().String()
		o := get[dog.ObjectEntry](w, "object", "type", "voice", "id", id, "name", "left")
		require.Equal(t, "left", o.Name)
		require.Equal(t, dog.KindReplica, o.Kind)
		require.True(t, !o.Live && o.Stored)
		require.Len(t, get[page[struct{}]](w, "outbox", "type", "voice", "id", id, "name", "left").Items, 1)
	})
}

// entry is a key and its value.
type entry struct{ Key, Value shown }

func TestData_IsReadWithoutStartingTheObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.do("a", func(n *Note) error {
			if _, err := n.Storage().SQL().Exec(`CREATE TABLE t (x)`); err != nil {
				return err
			}
			return n.Storage().Put("k", []byte("v"))
		})
		w.evict()
		starts := w.starts.Load()
		for _, name := range []string{"a", "nobody"} {
			id := w.notes.Named(name).ID().String()
			for _, route := range []string{"object", "keys", "alarms", "tables", "rows"} {
				w.request(http.MethodGet, "/api/"+route+"?type=note&table=t&name="+name+"&id="+id, "", nil)
			}
		}
		id := w.notes.Named("a").ID().String()
		require.Equal(
			t, entry{shown{Text: "k", Bytes: 1}, shown{Text: "v", Bytes: 1}},
			get[page[entry]](w, "keys", "type", "note", "id", id).Items[0],
		)
		for _, n := range w.rt.Totals().Types {
			require.Zero(t, n.Awake, n.Name)
		}
		require.Equal(t, starts, w.starts.Load())
		require.Len(t, get[page[dog.ObjectEntry]](w, "objects", "type", "note", "prefix", "a").Items, 1)
		w.evict()
		for e, err := range w.notes.List(t.Context(), dog.ObjectListOptions{}) {
			require.NoError(t, err)
			require.Equal(t, "a", e.Name, "what was looked at in vain is not stored")
		}
		w.do("a", func(n *Note) error { // starts as ever
			_, err := n.Storage().SQL().Exec(`INSERT INTO t VALUES (1)`)
			return err
		})
		require.Equal(t, starts+1, w.starts.Load())
	})
}

func TestData_OfAnObjectThatIsBusyIsNotWaitedForForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		hung := make(chan error)
		go func() { hung <- dog.CallErr0(t.Context(), w.notes.Named("a"), (*Note).Hang) }()
		synctest.Wait()
		began := time.Now()
		id := w.notes.Named("a").ID().String()
		w.refused(http.StatusGatewayTimeout, "keys", "type", "note", "id", id)
		require.Equal(t, 2*time.Second, time.Since(began))

		status, body := w.post("reset", map[string]string{"Type": "note", "ID": id})
		require.Equal(t, http.StatusOK, status, body)
		require.ErrorIs(t, <-hung, dog.ErrReset)
		require.Empty(t, get[page[entry]](w, "keys", "type", "note", "id", id).Items)
	})
}

func TestKeys_ArePagedAndCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.do("a", func(n *Note) error {
			for i := range 150 {
				if err := n.Storage().Put(fmt.Sprintf("k%03d", i), []byte(strconv.Itoa(i))); err != nil {
					return err
				}
			}
			return n.Storage().PutMany(map[string][]byte{
				"":           []byte("no name"),
				"x/long":     []byte(strings.Repeat("é", 1000)),
				"x/binary":   {0, 1, 0xff},
				"x/\xff\xfe": nil,
				"x/override": []byte("a\u202eb"),
			})
		})
		id := w.notes.Named("a").ID().String()
		p := get[page[entry]](w, "keys", "type", "note", "id", id)
		require.Len(t, p.Items, 100)
		require.Equal(t, "no name", p.Items[0].Value.Text)
		p = get[page[entry]](w, "keys", "type", "note", "id", id, "after", p.Next)
		require.Len(t, p.Items, 55)
		require.Equal(t, "k099", p.Items[0].Key.Text)
		require.Empty(t, p.Next)
		p = get[page[entry]](w, "keys", "type", "note", "id", id, "prefix", "x/")
		require.Equal(t, []entry{
			{shown{Text: "x/binary", Bytes: 8}, shown{Text: "0001ff", Kind: "hex", Bytes: 3}},
			{shown{Text: "x/long", Bytes: 6}, shown{Text: strings.Repeat("é", 512), Bytes: 2000, Cut: true}},
			{shown{Text: "x/override", Bytes: 10}, shown{Text: "61e280ae62", Kind: "hex", Bytes: 5}},
			{shown{Text: "782ffffe", Kind: "hex", Bytes: 4}, shown{}},
		}, p.Items)
		w.refused(http.StatusBadRequest, "keys", "type", "note", "id", id, "after", "?")
	})
}

func TestKeys_PageOfLargeValuesIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.do("a", func(n *Note) error {
			for i := range 10 {
				if err := n.Storage().Put(strconv.Itoa(i), make([]byte, 1<<20)); err != nil {
					return err
				}
			}
			return nil
		})
		id := w.notes.Named("a").ID().String()
		p := get[page[entry]](w, "keys", "type", "note", "id", id)
		require.Len(t, p.Items, 4)
		p = get[page[entry]](w, "keys", "type", "note", "id", id, "after", p.Next)
		require.Equal(t, "4", p.Items[0].Key.Text)
		status, body := w.request(http.MethodGet, "/api/keys?type=note&id="+id, "", nil)
		require.Equal(t, http.StatusOK, status)
		require.Less(t, len(body), 10<<10)
	})
}

// table is a table of an object.
type table struct{ Name, Type string }

func TestTables_ArePagedAndNothingElseRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		const strange = `a"; DROP TABLE plain; --`
		w.do("a", func(n *Note) error {
			_, err := n.Storage().SQL().Exec(`
				CREATE TABLE plain (id INTEGER PRIMARY KEY, v);
				INSERT INTO plain (v) VALUES (1), (9007199254740993), (1.5), ('<b>'), (x'00ff'), (NULL);
				CREATE TABLE "a""; DROP TABLE plain; --" (x);
				INSERT INTO "a""; DROP TABLE plain; --" VALUES ('safe');
				CREATE TABLE many (x);
				WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250)
					INSERT INTO many SELECT i FROM n;
				CREATE VIEW some AS SELECT x FROM many WHERE x > 248;
				CREATE VIEW wide AS SELECT x, zeroblob(1000000) AS w FROM many;
			`)
			return err
		})
		id := w.notes.Named("a").ID().String()
		rows := func(name string, after ...string) page[[]shown] {
			query := append([]string{"type", "note", "id", id, "table", name}, after...)
			return get[page[[]shown]](w, "rows", query...)
		}
		require.Equal(t, []table{
			{strange, "table"}, {"many", "table"}, {"plain", "table"}, {"some", "view"}, {"wide", "view"},
		}, get[page[table]](w, "tables", "type", "note", "id", id).Items)

		require.Equal(t, page[[]shown]{Columns: []string{"id", "v"}, Items: [][]shown{
			{{"1", "integer", 8, false}, {"1", "integer", 8, false}},
			{{"2", "integer", 8, false}, {"9007199254740993", "integer", 8, false}},
			{{"3", "integer", 8, false}, {"1.5", "real", 8, false}},
			{{"4", "integer", 8, false}, {"<b>", "", 3, false}},
			{{"5", "integer", 8, false}, {"00ff", "hex", 2, false}},
			{{"6", "integer", 8, false}, {"", "null", 0, false}},
		}}, rows("plain"))
		require.Equal(t, "safe", rows(strange).Items[0][0].Text)
		require.Len(t, rows("some").Items, 2)

		p := rows("many")
		require.Len(t, p.Items, 100)
		p = rows("many", "after", p.Next)
		p = rows("many", "after", p.Next)
		require.Len(t, p.Items, 50)
		require.Equal(t, "250", p.Items[49][0].Text)
		require.Empty(t, p.Next)
		require.Len(t, rows("wide").Items, 5, "a page is short where rows are large")

		for _, name := range []string{
			"", "sqlite_schema", "sqlite_master", "nobody", "plain; DELETE FROM plain", `plain" --`, "main.plain",
			"pragma_table_info", "pragma_writable_schema", "json_each", "(DELETE FROM plain)", "PLAIN\x00",
			"plain WHERE writefile('a', 'b')", "temp.x",
		} {
			w.refused(http.StatusNotFound, "rows", "type", "note", "id", id, "table", name)
		}
		for _, after := range []string{"x", "-1", "1; DELETE FROM plain", "99999999999999999999"} {
			w.refused(http.StatusBadRequest, "rows", "type", "note", "id", id, "table", "plain", "after", after)
		}
		require.Len(t, rows("plain").Items, 6)
	})
}

// An object that has deleted everything and is still in memory makes its tables
// again with the next query of its own, and not because somebody looks.
func TestTables_OfAnErasedObjectAreNotMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		pads, err := dog.RegisterObject(w.rt, "pad", &dog.ObjectOptions[Note]{
			New:    func() *Note { return &Note{starts: &w.starts} },
			Schema: []string{`CREATE TABLE lines (x)`},
		})
		require.NoError(t, err)
		pad := pads.Named("a")
		do := func(f func(n *Note) error) { require.NoError(t, dog.CallErr(t.Context(), pad, (*Note).Do, f)) }
		do(func(n *Note) error { return n.Storage().DeleteAll() })
		id := pad.ID().String()
		require.Empty(t, get[page[table]](w, "tables", "type", "pad", "id", id).Items)
		w.refused(http.StatusNotFound, "rows", "type", "pad", "id", id, "table", "lines")
		require.False(t, get[dog.ObjectEntry](w, "object", "type", "pad", "id", id).Stored)
		do(func(n *Note) error {
			_, err := n.Storage().SQL().Exec(`INSERT INTO lines VALUES (1)`)
			return err
		})
		require.Len(t, get[page[table]](w, "tables", "type", "pad", "id", id).Items, 1)
	})
}

// The limit is one of the time that passes in the world, so this is no bubble.
func TestTables_ViewWithoutAnEndIsEnded(t *testing.T) {
	w := newWorld(t, dogview.Options{})
	w.do("a", func(n *Note) error {
		_, err := n.Storage().SQL().Exec(`
			CREATE VIEW endless AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
				SELECT count(*) FROM n
		`)
		return err
	})
	id := w.notes.Named("a").ID().String()
	answer := w.refused(http.StatusGatewayTimeout, "rows", "type", "note", "id", id, "table", "endless")
	require.Contains(t, answer, "than a statement may")
}

func TestOutbox_ReasonOfAFailureIsInTheLogOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{
			Outbox: func(context.Context, dog.ObjectInfo) (waiting, dead []outbox.Command, err error) {
				return nil, nil, errors.New("a path: /var/secret")
			},
		})
		w.do("a", func(*Note) error { return nil })
		id := w.notes.Named("a").ID().String()
		answer := w.refused(http.StatusInternalServerError, "outbox", "type", "note", "id", id)
		require.NotContains(t, answer, "secret")
		require.Contains(t, w.log.String(), "secret")
	})
}

func TestOutbox_IsWhatTheProgramReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body, err := dog.Encode(map[string]int{"dim": 3})
		require.NoError(t, err)
		w := newWorld(t, dogview.Options{Outbox: commands(outbox.Command{Number: 7, Body: body, Replace: "light"})})
		w.do("a", func(*Note) error { return nil })
		id := w.notes.Named("a").ID().String()
		p := get[page[struct {
			Number  int
			Replace string
			Body    shown
		}]](w, "outbox", "type", "note", "id", id)
		require.Equal(t, 1, p.Waiting)
		require.Equal(t, 7, p.Items[0].Number)
		require.Equal(t, `{"dim":3}`, p.Items[0].Body.Text)
		w.refused(http.StatusNotFound, "outbox", "type", "note", "id", w.notes.Named("b").ID().String())

		w = newWorld(t, dogview.Options{})
		w.do("a", func(*Note) error { return nil })
		w.refused(http.StatusNotFound, "outbox", "type", "note", "id", id)
	})
}

func TestOutbox_IsPagedAndHasDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waiting []outbox.Command
		for i := range uint64(150) {
			waiting = append(waiting, outbox.Command{Number: 3 * i})
		}
		w := newWorld(t, dogview.Options{
			Outbox: func(context.Context, dog.ObjectInfo) ([]outbox.Command, []outbox.Command, error) {
				return waiting, []outbox.Command{{Number: 1, Key: "lost"}}, nil
			},
		})
		w.do("a", func(*Note) error { return nil })
		id := w.notes.Named("a").ID().String()
		require.True(t, get[struct{ Outbox bool }](w, "object", "type", "note", "id", id).Outbox)
		type command struct {
			Number int
			Key    string
		}
		p := get[page[command]](w, "outbox", "type", "note", "id", id)
		require.Equal(t, []int{100, 150, 1}, []int{len(p.Items), p.Waiting, p.Dead})
		require.Zero(t, p.Items[0].Number)
		waiting = waiting[101:] // the device has acknowledged some
		p = get[page[command]](w, "outbox", "type", "note", "id", id, "after", p.Next)
		require.Len(t, p.Items, 49)
		require.Equal(t, 303, p.Items[0].Number)
		require.Empty(t, p.Next)
		p = get[page[command]](w, "outbox", "type", "note", "id", id, "of", "dead")
		require.Equal(t, []command{{1, "lost"}}, p.Items)
		w.refused(http.StatusBadRequest, "outbox", "type", "note", "id", id, "after", "x")

		w = newWorld(t, dogview.Options{})
		w.do("a", func(*Note) error { return nil })
		require.False(t, get[struct{ Outbox bool }](w, "object", "type", "note", "id", id).Outbox)
	})
}
