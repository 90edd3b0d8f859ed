package dogview

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/godurable/dog"
)

const (
	maxShown  = 1 << 10 // bytes of a value that are shown
	maxRead   = 4 << 20 // bytes of values that are read for one page, and those of one more value
	maxTables = 1000
)

// shown is a value as the page shows it.
type shown struct {
	Text  string
	Kind  string `json:",omitempty"` // "hex", or what SQLite calls the type of a value that is no text
	Bytes int    // of the whole value
	Cut   bool   `json:",omitempty"`
}

// show returns a value that may be text or anything else.
func show(value []byte) shown {
	s := shown{Bytes: len(value), Cut: len(value) > maxShown}
	part := value[:min(len(value), maxShown)]
	if s.Cut {
		for i := 0; i < utf8.UTFMax && !utf8.Valid(part); i++ { // a character that is cut
			part = part[:len(part)-1]
		}
	}
	if utf8.Valid(part) && !strings.ContainsFunc(string(part), hidden) {
		s.Text = string(part)
		return s
	}
	part = value[:min(len(value), maxShown/2)]
	s.Text, s.Kind, s.Cut = hex.EncodeToString(part), "hex", len(part) < len(value)
	return s
}

// hidden reports whether a character does not show in a text, or changes how
// others show.
func hidden(c rune) bool {
	return c != '\n' && c != '\t' && !unicode.IsPrint(c) && !unicode.Is(unicode.Zs, c) && c != '\r'
}

// objectNow is an object.
type objectNow struct {
	dog.ObjectEntry
	Sockets    int
	Members    int
	Hibernated bool
	Outbox     bool // commands are shown
}

// object returns an object.
func (v *View) object(ctx context.Context, r *http.Request) (o objectNow, err error) {
	ns, entry, err := v.find(ctx, r)
	if err != nil {
		return o, err
	}
	live, _ := ns.Live(entry.ID)
	return objectNow{entry, live.Sockets, live.Members, live.Hibernated, v.options.Outbox != nil}, nil
}

// find returns the object that a request names, and its type.
func (v *View) find(ctx context.Context, r *http.Request) (ns namespace, entry dog.ObjectEntry, err error) {
	ns, id, err := v.asked(r)
	if err != nil {
		return nil, entry, err
	}
	entry, found, err := ns.Find(ctx, id)
	if err == nil && !found {
		err = missing("there is no such object, neither in memory nor in the store")
	}
	return ns, entry, err
}

// read reads what the object that a request names has stored.
func (v *View) read(ctx context.Context, r *http.Request, f func(*dog.Storage) error) error {
	ns, id, err := v.asked(r)
	if err != nil {
		return err
	}
	err = ns.Read(ctx, id, f)
	if errors.Is(err, dog.ErrReplicaGone) {
		return &problem{http.StatusConflict, "the replica is not in memory, and reading it would start its group"}
	}
	return err
}

// entry is a key and its value.
type entry struct {
	Key   shown
	Value shown
}

// keys lists the keys of an object.
func (v *View) keys(ctx context.Context, r *http.Request) (page listing[entry], err error) {
	page.Items = []entry{}
	o := dog.ListOptions{Prefix: r.FormValue("prefix"), Limit: pageSize + 1}
	if after := r.FormValue("after"); after != "" {
		key, err := base64.RawURLEncoding.DecodeString(after)
		if err != nil {
			return page, errAfter
		}
		o.Start = string(key) + "\x00"
	}
	err = v.read(ctx, r, func(s *dog.Storage) error {
		last, bytes := "", 0
		for e, err := range s.List(o) {
			if err != nil {
				return err
			}
			if len(page.Items) == pageSize || bytes >= maxRead || bytes > 0 && ctx.Err() != nil {
				page.Next = base64.RawURLEncoding.EncodeToString([]byte(last))
				return nil
			}
			last, bytes = e.Key, bytes+len(e.Key)+len(e.Value)+1
			page.Items = append(page.Items, entry{show([]byte(e.Key)), show(e.Value)})
		}
		return nil
	})
	return page, err
}

// alarm is an alarm of an object.
type alarm struct {
	Name     string
	At, Next time.Time
	Payload  shown
	Retries  int
	Failed   bool
	Err      string
}

// alarms returns the first alarms of an object.
func (v *View) alarms(ctx context.Context, r *http.Request) (page listing[alarm], err error) {
	page.Items = []alarm{}
	err = v.read(ctx, r, func(s *dog.Storage) error {
		for a, err := range s.Alarms().All() {
			if err != nil || len(page.Items) == pageSize {
				return err
			}
			page.Items = append(page.Items, alarm{a.Name, a.At, a.Next, show(a.Payload), a.Retries, a.Failed, a.Err})
		}
		return nil
	})
	return page, err
}

// table is a table or a view of an object's database.
type table struct {
	Name string `sql:"name"`
	Type string `sql:"type"`
}

// tablesIn returns the tables and views. There are none without SQL.
func tablesIn(s *dog.Storage) ([]table, error) {
	tables := []table{}
	const query = `SELECT name, type FROM sqlite_schema
		WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite|_%' ESCAPE '|' ORDER BY name LIMIT ?`
	for t, err := range dog.QueryAs[table](s.SQL(), query, maxTables) {
		if errors.Is(err, dog.ErrNoStore) {
			break
		}
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// tables lists the tables of an object.
func (v *View) tables(ctx context.Context, r *http.Request) (page listing[table], err error) {
	err = v.read(ctx, r, func(s *dog.Storage) (err error) {
		page.Items, err = tablesIn(s)
		return err
	})
	return page, err
}

// rowsPage is a page of a table.
type rowsPage struct {
	Columns []string
	listing[[]shown]
}

// rows returns rows of a table. The statement is this function's own, and what
// it takes of the request is the name of a table that exists, and a number.
func (v *View) rows(ctx context.Context, r *http.Request) (page rowsPage, err error) {
	page.Columns, page.Items = []string{}, [][]shown{}
	name, offset := r.FormValue("table"), 0
	if after := r.FormValue("after"); after != "" {
		if offset, err = strconv.Atoi(after); err != nil || offset < 0 {
			return page, errAfter
		}
	}
	err = v.read(ctx, r, func(s *dog.Storage) error {
		tables, err := tablesIn(s)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(tables, func(t table) bool { return t.Name == name }) {
			return missing("the object has no table with this name")
		}
		query := `SELECT * FROM main."` + strings.ReplaceAll(name, `"`, `""`) + `" LIMIT ? OFFSET ?`
		bytes := 0
		for row, err := range s.SQL().Query(query, pageSize+1, offset) {
			if err != nil {
				return err
			}
			if len(page.Items) == pageSize || bytes >= maxRead {
				page.Next = strconv.Itoa(offset + len(page.Items))
				return nil
			}
			page.Columns = row.Columns()
			values := make([]shown, len(page.Columns))
			for i := range values {
				values[i] = cell(row.Value(i))
				bytes += values[i].Bytes
			}
			page.Items = append(page.Items, values)
		}
		return nil
	})
	return page, err
}

// cell returns a value of SQLite.
func cell(value any) shown {
	switch v := value.(type) {
	case nil:
		return shown{Kind: "null"}
	case string:
		return show([]byte(v))
	case []byte:
		s := show(v)
		if s.Kind == "" {
			s.Kind = "blob"
		}
		return s
	case int64:
		return shown{Text: strconv.FormatInt(v, 10), Kind: "integer", Bytes: 8}
	default:
		return shown{Text: fmt.Sprint(v), Kind: "real", Bytes: 8}
	}
}

// command is a command that waits, or a dead letter.
type command struct {
	Number       uint64
	Key, Replace string
	Body         shown
	Expires      time.Time
	Deliveries   int
}

// outbox returns commands that wait in an object, or its dead letters, and how
// many there are.
func (v *View) outbox(ctx context.Context, r *http.Request) (page struct {
	listing[command]
	Waiting, Dead int
}, err error) {
	page.Items = []command{}
	if v.options.Outbox == nil {
		return page, missing("the program does not show its commands")
	}
	after := uint64(0)
	if text := r.FormValue("after"); text != "" {
		if after, err = strconv.ParseUint(text, 10, 64); err != nil {
			return page, errAfter
		}
	}
	_, found, err := v.find(ctx, r)
	if err != nil {
		return page, err
	}
	list, dead, err := v.options.Outbox(ctx, found.ObjectInfo)
	if err != nil {
		return page, err
	}
	page.Waiting, page.Dead = len(list), len(dead)
	if r.FormValue("of") == "dead" {
		list = dead
	}
	for _, c := range list {
		switch {
		case c.Number <= after && after > 0:
			continue
		case len(page.Items) == pageSize:
			page.Next = strconv.FormatUint(page.Items[pageSize-1].Number, 10)
			return page, nil
		}
		page.Items = append(
			page.Items, command{c.Number, c.Key, c.Replace, show(c.Body.Data), c.Expires, c.Deliveries},
		)
	}
	return page, nil
}
