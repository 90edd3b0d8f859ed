package roster_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/roster"
)

// model is a Book made of slices and loops. Each of its actions does the same
// to both and compares them.
type model struct {
	t        *rapid.T
	c        roster.Config
	book     *roster.Book[int, int]
	now      roster.Time
	replicas []*modelReplica        // in order of addition
	places   []*modelPlace          // live ones, in order of arrival
	attached []*modelPlace          // in order of attachment
	old      []*realPlace           // released
	lingers  map[string]modelLinger // the last of each id, however long ago
	holds    map[string]modelLinger // instead, with Config.Hold: those that have not been seen to end
	made     int                    // names replicas and sockets
}

type (
	realPlace   = roster.Place[int, int]
	realReplica = roster.Replica[int, int]

	modelReplica struct {
		real     *realReplica
		draining bool
		locked   bool
		since    roster.Time // when it became empty
	}
	modelPlace struct {
		real    *realPlace
		rid     string
		replica *modelReplica
		claimed bool
		since   roster.Time
		socket  int // 0: none
	}
	modelLinger struct {
		replica *modelReplica
		since   roster.Time
	}
)

var rids = []string{"a", "b", "c", "d", ""}

func newModel(t *rapid.T) *model {
	span := func(lo, hi int, label string) time.Duration {
		return time.Duration(rapid.IntRange(lo, hi).Draw(t, label))
	}
	c := roster.Config{
		Limit:       rapid.IntRange(1, 4).Draw(t, "limit"),
		MaxReplicas: rapid.SampledFrom([]int{0, 0, 1, 3, 12}).Draw(t, "max"),
		Reserve:     span(1, 6, "reserve"),
		Linger:      span(0, 8, "linger"),
		Retire:      span(0, 12, "retire"),

		FullestFirst: rapid.Bool().Draw(t, "fullest first"),
		Hold:         rapid.Bool().Draw(t, "hold"),
	}
	return &model{
		t: t, c: c, book: roster.New[int, int](c), lingers: map[string]modelLinger{}, holds: map[string]modelLinger{},
	}
}

func (m *model) load(r *modelReplica) (n int) {
	for _, p := range m.places {
		if p.replica == r {
			n++
		}
	}
	return n + m.held(r)
}

// held counts the places that a replica holds: for each id that lingers there
// and has none.
func (m *model) held(r *modelReplica) (n int) {
	for rid := range m.holds {
		if m.holder(rid) == r {
			n++
		}
	}
	return n
}

// holder returns the replica that holds a place for rid.
func (m *model) holder(rid string) *modelReplica {
	if h, ok := m.holds[rid]; ok && !m.has(rid, h.replica) {
		return h.replica
	}
	return nil
}

func (m *model) has(rid string, r *modelReplica) bool {
	return slices.ContainsFunc(m.places, func(p *modelPlace) bool { return p.rid == rid && p.replica == r })
}

// knows reports whether rid is known on r.
func (m *model) knows(r *modelReplica, rid string) bool {
	l, ok := m.lingers[rid]
	return m.has(rid, r) || m.holder(rid) == r || ok && l.replica == r && !m.passed(m.c.Linger, l.since)
}

// emptied notes the time when a replica has become empty.
func (m *model) emptied(r *modelReplica) {
	if m.load(r) == 0 {
		r.since = m.now
	}
}

func (m *model) endHold(rid string) {
	if h, ok := m.holds[rid]; ok {
		counted := m.holder(rid) != nil
		delete(m.holds, rid)
		if counted {
			m.emptied(h.replica)
		}
	}
}

// claimed makes p a used place.
func (m *model) claimed(p *modelPlace) {
	p.claimed = true
	m.endHold(p.rid)
}

func (m *model) isOpen(r *modelReplica) bool {
	return slices.Contains(m.replicas, r) && !r.draining && m.load(r) < m.c.Limit
}

func (m *model) passed(d time.Duration, since roster.Time) bool { return m.now >= since+roster.Time(d) }

// choices returns the replicas that Reserve may choose for rid.
func (m *model) choices(rid string) []*modelReplica {
	if r := m.holder(rid); r != nil {
		return []*modelReplica{r}
	}
	better := func(a, b *modelReplica) bool { return m.load(a) < m.load(b) }
	var own, all []*modelReplica
	for _, r := range m.replicas {
		if !m.isOpen(r) {
			continue
		}
		if !r.locked {
			all = append(all, r)
		}
		if m.has(rid, r) {
			own = append(own, r)
		}
	}
	if len(own) == 0 {
		if l, ok := m.lingers[rid]; ok && !m.passed(m.c.Linger, l.since) && m.isOpen(l.replica) {
			return []*modelReplica{l.replica}
		}
		own = all
		if m.c.FullestFirst {
			better = func(a, b *modelReplica) bool { return m.load(a) > m.load(b) }
		}
	}
	var best []*modelReplica
	for _, r := range own {
		switch {
		case best == nil || better(r, best[0]):
			best = []*modelReplica{r}
		case m.load(r) == m.load(best[0]):
			best = append(best, r)
		}
	}
	return best
}

func (m *model) released(p *modelPlace) {
	same := func(q *modelPlace) bool { return p == q }
	m.places = slices.DeleteFunc(m.places, same)
	m.attached = slices.DeleteFunc(m.attached, same)
	m.old = append(m.old, p.real)
	inUse := slices.ContainsFunc(m.places, func(q *modelPlace) bool { return q.rid == p.rid && q.claimed })
	if p.claimed && !inUse && !p.replica.draining && m.c.Linger > 0 {
		lingers := m.lingers
		if m.c.Hold {
			lingers = m.holds
		}
		lingers[p.rid] = modelLinger{p.replica, m.now}
	}
	m.emptied(p.replica)
}

func (m *model) expire() {
	for _, p := range slices.Clone(m.places) {
		if !p.claimed && m.passed(m.c.Reserve, p.since) {
			m.released(p)
		}
	}
	for _, rid := range rids {
		if h, ok := m.holds[rid]; ok && m.passed(m.c.Linger, h.since) {
			m.endHold(rid)
		}
	}
}

func (m *model) bounded() bool { return m.c.MaxReplicas > 0 && len(m.replicas) >= m.c.MaxReplicas }

// rid prefers the first id, which so comes to be on many replicas.
func (m *model) rid() string {
	return rapid.OneOf(rapid.Just(rids[0]), rapid.SampledFrom(rids)).Draw(m.t, "rid")
}

func (m *model) replica() *modelReplica {
	if len(m.replicas) == 0 {
		m.t.Skip("no replica")
	}
	return rapid.SampledFrom(m.replicas).Draw(m.t, "replica")
}

func (m *model) place() *modelPlace {
	if len(m.places) == 0 {
		m.t.Skip("no place")
	}
	return rapid.SampledFrom(m.places).Draw(m.t, "place")
}

// check compares everything that can be seen.
func (m *model) check(*rapid.T) {
	require.Equal(m.t, len(m.replicas), m.book.Len())
	require.Equal(m.t, len(m.replicas) == 0, m.book.Empty())
	all := slices.Collect(m.book.All())
	lingering := len(m.holds)
	for _, l := range m.lingers {
		if !m.passed(m.c.Linger, l.since) {
			lingering++
		}
	}
	require.GreaterOrEqual(m.t, m.book.Lingering(), lingering)
	require.LessOrEqual(m.t, m.book.Lingering(), len(m.lingers)+len(m.holds))
	pending := m.book.Lingering() > 0
	for i, r := range m.replicas {
		require.Same(m.t, r.real, all[i])
		require.Same(m.t, r.real, m.book.Replica(r.real.ID()))
		load, reserved := 0, 0
		for _, p := range m.places {
			if p.replica != r {
				continue
			}
			load++
			if !p.claimed {
				reserved++
			}
		}
		load += m.held(r)
		require.LessOrEqual(m.t, r.real.Load(), m.c.Limit)
		require.Equal(m.t, load, r.real.Load())
		require.Equal(m.t, reserved, r.real.Reserved())
		require.Equal(m.t, m.held(r), r.real.Held())
		require.Equal(m.t, r.locked, r.real.Locked())
		require.Equal(m.t, r.draining, r.real.Draining())
		pending = pending || load == 0 || reserved > 0
	}
	require.Equal(m.t, pending, m.book.Pending())

	ids := 0
	for _, rid := range rids {
		var sockets []int
		for _, p := range m.attached {
			if p.rid == rid {
				sockets = append(sockets, p.socket)
			}
		}
		require.Equal(m.t, sockets, slices.Collect(m.book.Sockets(rid)))
		if slices.ContainsFunc(m.places, func(p *modelPlace) bool { return p.rid == rid }) {
			ids++
		}
	}
	require.Equal(m.t, ids, m.book.IDs())
	for _, p := range m.places {
		require.True(m.t, p.real.Held())
		require.Same(m.t, p.replica.real, p.real.Replica())
	}
}

// end lets everything go.
func (m *model) end() {
	for len(m.places) > 0 {
		p := m.places[0]
		m.book.Release(p.real, m.now)
		m.released(p)
	}
	m.check(m.t)
	yes := func(*realReplica) bool { return true }
	m.now += roster.Time(m.c.Linger)
	m.book.Tick(m.now, yes) // ends the holds
	m.now += roster.Time(max(m.c.Retire, m.c.Linger))
	m.book.Tick(m.now, yes)
	require.True(m.t, m.book.Empty())
	m.book.Tick(m.now+roster.Time(m.c.Linger), nil)
	require.Zero(m.t, m.book.Lingering())
	require.False(m.t, m.book.Pending())
}

func TestBook_BehavesAsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		for range rapid.SampledFrom([]int{0, 1, 2, 3, 12}).Draw(t, "replicas") {
			m.add(t)
		}
		if rapid.Bool().Draw(t, "busy") {
			m.spread(t)
		}
		// An action under several names is chosen more often.
		actions := map[string]func(*rapid.T){
			"":         m.check,
			"add":      m.add,
			"reserve":  m.reserve,
			"reserve2": m.reserve,
			"reserve3": m.reserve,
			"take":     m.take,
			"spread":   m.spread,
			"claim":    m.claim,
			"claim2":   m.claim,
			"attach":   m.attach,
			"release":  m.release,
			"release2": m.release,
			"release3": m.release,
			"old":      m.useOld,
			"drain":    m.drain,
			"lock":     m.lock,
			"tick":     m.tick,
			"wait":     m.wait,
		}
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			t.Repeat(actions)
		}
		m.end()
	})
}
