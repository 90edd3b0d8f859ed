package roster_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/roster"
)

func (m *model) wait(*rapid.T) { m.now += roster.Time(rapid.IntRange(1, 5).Draw(m.t, "wait")) }

func (m *model) add(*rapid.T) {
	id := fmt.Sprint("r", m.made)
	m.made++
	m.expire()
	r, err := m.book.Add(id, m.made, m.now)
	if m.bounded() {
		require.ErrorIs(m.t, err, roster.ErrFull)
		require.Nil(m.t, r)
		return
	}
	require.NoError(m.t, err)
	require.Equal(m.t, m.made, r.Value)
	m.replicas = append(m.replicas, &modelReplica{real: r, since: m.now})
	_, err = m.book.Add(id, 0, m.now)
	require.ErrorIs(m.t, err, roster.ErrExists)
}

func (m *model) reserve(*rapid.T) {
	rid := m.rid()
	m.expire()
	choices := m.choices(rid)
	p, err := m.book.Reserve(rid, m.now)
	if len(choices) == 0 {
		want := roster.ErrNoRoom
		if m.bounded() {
			want = roster.ErrFull
		}
		require.ErrorIs(m.t, err, want)
		require.Nil(m.t, p)
		return
	}
	require.NoError(m.t, err)
	i := slices.IndexFunc(choices, func(r *modelReplica) bool { return r.real == p.Replica() })
	require.GreaterOrEqual(m.t, i, 0, "%q was sent to %s", rid, p.Replica().ID())
	m.places = append(m.places, &modelPlace{real: p, rid: rid, replica: choices[i], since: m.now})
}

func (m *model) take(*rapid.T) { m.takeOn(m.replica(), m.rid()) }

// spread gives one id places on many replicas.
func (m *model) spread(*rapid.T) {
	rid := m.rid()
	for _, r := range m.replicas {
		m.takeOn(r, rid)
	}
}

func (m *model) takeOn(r *modelReplica, rid string) {
	m.expire()
	p, err := m.book.Take(r.real, rid, m.now)
	switch {
	case r.draining:
		require.ErrorIs(m.t, err, roster.ErrDraining)
	case m.load(r) == m.c.Limit && m.holder(rid) != r:
		require.ErrorIs(m.t, err, roster.ErrReplicaFull)
	case r.locked && !m.knows(r, rid):
		require.ErrorIs(m.t, err, roster.ErrLocked)
	default:
		require.NoError(m.t, err)
		place := &modelPlace{real: p, rid: rid, replica: r}
		m.places = append(m.places, place)
		m.claimed(place)
	}
}

func (m *model) claim(*rapid.T) {
	p := m.place()
	expired := !p.claimed && m.passed(m.c.Reserve, p.since)
	require.Equal(m.t, !p.claimed && !expired, m.book.Claim(p.real, m.now))
	if expired {
		m.released(p)
	} else if !p.claimed {
		m.claimed(p)
	}
}

func (m *model) attach(*rapid.T) {
	p := m.place()
	m.made++
	may := p.claimed && p.socket == 0
	require.Equal(m.t, may, m.book.Attach(p.real, m.made))
	if may {
		p.socket = m.made
		m.attached = append(m.attached, p)
	}
}

func (m *model) release(*rapid.T) {
	p := m.place()
	m.book.Release(p.real, m.now)
	m.released(p)
}

// useOld tries everything with a place that was released.
func (m *model) useOld(*rapid.T) {
	if len(m.old) == 0 {
		m.t.Skip("no old place")
	}
	p := rapid.SampledFrom(m.old).Draw(m.t, "old")
	m.book.Release(p, m.now)
	require.False(m.t, m.book.Claim(p, m.now))
	require.False(m.t, m.book.Attach(p, -1))
	require.False(m.t, p.Held())
}

func (m *model) drain(*rapid.T) {
	r := m.replica()
	m.book.Drain(r.real, m.now)
	for rid, h := range m.holds {
		if h.replica == r {
			m.endHold(rid)
		}
	}
	r.draining = true
}

func (m *model) lock(*rapid.T) {
	r := m.replica()
	locked := rapid.Bool().Draw(m.t, "locked")
	m.book.SetLocked(r.real, locked, m.now)
	if r.locked != locked {
		r.locked = locked
		m.emptied(r)
	}
}

// stay is how long an empty replica stays.
func (m *model) stay() time.Duration {
	if m.c.Hold {
		return m.c.Retire
	}
	return max(m.c.Retire, m.c.Linger)
}

func (m *model) tick(*rapid.T) {
	m.expire()
	var due []*modelReplica
	for _, r := range m.replicas {
		if m.load(r) == 0 && (r.draining || m.passed(m.stay(), r.since)) {
			due = append(due, r)
		}
	}
	var asked []*realReplica
	for _, r := range due {
		if rapid.Bool().Draw(m.t, "retire") {
			m.replicas = slices.DeleteFunc(m.replicas, func(q *modelReplica) bool { return q == r })
		}
	}
	m.book.Tick(m.now, func(r *realReplica) bool {
		asked = append(asked, r)
		return !slices.ContainsFunc(m.replicas, func(q *modelReplica) bool { return q.real == r })
	})
	require.Len(m.t, asked, len(due))
	for _, r := range due {
		require.Contains(m.t, asked, r.real)
		if slices.Contains(m.replicas, r) {
			continue
		}
		require.True(m.t, r.real.Draining())
		_, err := m.book.Take(r.real, "a", m.now)
		require.ErrorIs(m.t, err, roster.ErrGone)
		require.Nil(m.t, m.book.Replica(r.real.ID()))
	}
}
