package faults_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/godurable/dog"
)

// act is something that a notebook does in a turn.
type act struct {
	kind string
	key  int
	acts []act // of a transaction
}

// Kinds of acts. A failing transaction and a panic undo what they can.
var actKinds = []string{
	"put", "put", "put", "delete", "insert", "insert", "remove", "alarm", "disarm", "transaction", "failing", "wipe",
}

// page is a task of a notebook: one turn, then perhaps a call to another
// notebook, and one more turn.
type page struct {
	acts   []act // in each turn
	ask    int   // which other notebook
	then   *page // what that one does; nil: nobody is asked
	panics bool  // at the end
}

var errUndo = errors.New("undo")

func drawActs(depth int) *rapid.Generator[[]act] {
	kinds := actKinds
	switch depth {
	case maxDepth:
	case 0:
		kinds = kinds[:len(kinds)-3]
	default:
		kinds = kinds[:len(kinds)-1] // a transaction refuses to wipe what it has changed by SQL
	}
	one := rapid.Custom(func(t *rapid.T) act {
		a := act{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), key: rapid.IntRange(0, 5).Draw(t, "key")}
		if a.kind == "transaction" || a.kind == "failing" {
			a.acts = drawActs(depth-1).Draw(t, "acts")
		}
		return a
	})
	return rapid.SliceOfN(one, 0, 5)
}

// maxDepth is how deep transactions are nested.
const maxDepth = 2

const notebooks = 3

func drawPage(depth int) *rapid.Generator[page] {
	return rapid.Custom(func(t *rapid.T) page {
		p := page{
			acts:   drawActs(maxDepth).Draw(t, "acts"),
			panics: rapid.IntRange(0, 5).Draw(t, "panics") == 5,
		}
		if depth > 0 && rapid.Bool().Draw(t, "asks") {
			p.ask = rapid.IntRange(0, notebooks-1).Draw(t, "whom")
			then := drawPage(depth-1).Draw(t, "then")
			p.then = &then
		}
		return p
	})
}

// contents are what a notebook has stored.
type contents struct {
	Keys   map[string]string
	Rows   []int
	Alarms map[string]int64
}

func (c contents) equal(d contents) bool {
	return maps.Equal(c.Keys, d.Keys) && slices.Equal(c.Rows, d.Rows) && maps.Equal(c.Alarms, d.Alarms)
}

func (c contents) clone() contents {
	return contents{Keys: maps.Clone(c.Keys), Rows: slices.Clone(c.Rows), Alarms: maps.Clone(c.Alarms)}
}

// past is what a notebook had after each of its turns. It outlives the runtimes
// of a test. Turns have numbers that are unique, since one that is lost may be
// followed by another in its place.
type past struct {
	mu           sync.Mutex
	turns        []pastTurn   // by number. guarded by mu
	acknowledged map[int]bool // turns. guarded by mu
}

type pastTurn struct {
	before int // the turn before it
	then   contents
}

func newPast() *past {
	return &past{
		turns:        []pastTurn{{before: -1, then: contents{Keys: map[string]string{}, Alarms: map[string]int64{}}}},
		acknowledged: map[int]bool{},
	}
}

// begin adds a turn.
func (p *past) begin(before int, then contents) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.turns = append(p.turns, pastTurn{before, then})
	return len(p.turns) - 1
}

func (p *past) acknowledge(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acknowledged[n] = true
}

// errHalf: a storage has the state after none of its turns, or lacks an
// acknowledged turn.
var errHalf = errors.New("half a turn")

// check compares what a storage has with what it had after the turn that was
// its last one. No acknowledged turn may come after that, or be missing before
// it.
func (p *past) check(s *dog.Storage) (n int, has contents, err error) {
	if n, has, err = read(s); err != nil {
		return 0, has, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= len(p.turns) {
		return 0, has, fmt.Errorf("%w: turn %d of %d", errHalf, n, len(p.turns))
	}
	if want := p.turns[n].then; !has.equal(want) {
		return 0, has, fmt.Errorf("%w: after turn %d: stored %v, wanted %v", errHalf, n, has, want)
	}
	missing := maps.Clone(p.acknowledged)
	for i := n; i >= 0; i = p.turns[i].before {
		delete(missing, i)
	}
	if len(missing) > 0 {
		return 0, has, fmt.Errorf("%w: after turn %d: acknowledged: %v", errHalf, n, missing)
	}
	return n, has, nil
}

// read returns what a storage has, and after which turn.
func read(s *dog.Storage) (n int, c contents, err error) {
	c = contents{Keys: map[string]string{}, Alarms: map[string]int64{}}
	for e, err := range s.List(dog.ListOptions{}) {
		if err != nil {
			return 0, c, err
		}
		c.Keys[e.Key] = string(e.Value)
	}
	for row, err := range dog.QueryAs[int](s.SQL(), `SELECT n FROM rows ORDER BY n`) {
		if err != nil {
			return 0, c, err
		}
		c.Rows = append(c.Rows, row)
	}
	for alarm, err := range s.Alarms().All() {
		if err != nil {
			return 0, c, err
		}
		c.Alarms[alarm.Name] = alarm.At.Unix()
	}
	n, _ = strconv.Atoi(c.Keys["turn"])
	delete(c.Keys, "turn")
	return n, c, nil
}

// perform takes a turn: it acts on a storage and on the state that this should
// then have.
func (p *past) perform(s *dog.Storage, acts []act) (n int, err error) {
	before, state, err := p.check(s)
	if err != nil {
		return 0, err
	}
	if err := state.all(s, before+1, acts); err != nil {
		return 0, err
	}
	n = p.begin(before, state)
	return n, dog.MapOf[int](s, "").Put("turn", n)
}

func (c *contents) all(s *dog.Storage, n int, acts []act) error {
	for i, a := range acts {
		if err := c.one(s, n*10+i, a); err != nil {
			return err
		}
	}
	return nil
}

// one acts on a storage. What is new there is derived from a number.
func (c *contents) one(s *dog.Storage, number int, a act) error {
	key := "key" + strconv.Itoa(a.key)
	at := time.Date(2200, 1, 1, 0, 0, number, 0, time.UTC)
	switch a.kind {
	case "put":
		c.Keys[key] = fmt.Sprintf("%0*d", 1+a.key*100, number)
		return s.Put(key, []byte(c.Keys[key]))
	case "delete":
		delete(c.Keys, key)
		_, err := s.Delete(key)
		return err
	case "insert":
		c.Rows = append(c.Rows, 100*number+a.key)
		slices.Sort(c.Rows)
		_, err := s.SQL().Exec(`INSERT INTO rows (n, pad) VALUES (?, zeroblob(?))`, 100*number+a.key, a.key*1000)
		return err
	case "remove":
		c.Rows = slices.DeleteFunc(c.Rows, func(n int) bool { return n%100 == a.key })
		_, err := s.SQL().Exec(`DELETE FROM rows WHERE n % 100 = ?`, a.key)
		return err
	case "alarm":
		c.Alarms[key] = at.Unix()
		return s.Alarms().SetNamed(key, at, nil)
	case "disarm":
		delete(c.Alarms, key)
		_, err := s.Alarms().Delete(key)
		return err
	case "wipe":
		*c = contents{Keys: map[string]string{}, Alarms: map[string]int64{}}
		return s.DeleteAll()
	}
	before := c.clone()
	err := s.Transaction(func() error {
		if err := c.all(s, number, a.acts); err != nil || a.kind != "failing" {
			return err
		}
		return errUndo
	})
	if errors.Is(err, errUndo) {
		*c = before
		return nil
	}
	return err
}

var notebookSchema = dog.Schema{`CREATE TABLE rows (n INTEGER, pad BLOB)`}
