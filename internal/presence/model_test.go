package presence_test

import (
	"cmp"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/presence"
)

// model says with maps and loops what a List must do.
type model struct {
	t    *rapid.T
	c    presence.Config
	list *presence.List
	now  presence.Time
	uids map[string]*modelUID

	owner  map[string]string // the members by the changes that are done
	taken  *presence.Change
	before presence.Time // no change is due earlier
	seq    uint64
}

type modelUID struct {
	connections  int
	leaves       presence.Time // end of the grace; 0: it does not leave
	value        string
	told         bool // a member by all changes taken
	set          bool // the value has been set since it was in a change
	differsSince presence.Time
	differs      bool
}

func (u *modelUID) present() bool { return u.connections > 0 || u.leaves > 0 }

// look records whether a uid differs from the changes so far.
func (m *model) look(u *modelUID, at presence.Time) {
	differs := u.present() != u.told || u.present() && u.set
	if m.c.Silent {
		differs, u.told = false, u.present()
	}
	if differs && !u.differs {
		u.differsSince = at
	}
	u.differs = differs
}

// pass lets time pass.
func (m *model) pass(d time.Duration) {
	m.now += presence.Time(d)
	for _, u := range m.uids {
		if u.leaves > 0 && u.leaves <= m.now {
			at := u.leaves
			u.leaves = 0
			u.set = u.set || u.value != ""
			u.value = ""
			m.look(u, at)
		}
	}
}

func (m *model) uid() *modelUID {
	uid := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(m.t, "uid")
	if m.uids[uid] == nil {
		m.uids[uid] = &modelUID{}
	}
	return m.uids[uid]
}

func (m *model) name(of *modelUID) string {
	for uid, u := range m.uids {
		if u == of {
			return uid
		}
	}
	return ""
}

func (m *model) enter(*rapid.T) {
	u := m.uid()
	m.list.Enter(m.name(u), m.now)
	u.connections++
	u.leaves = 0
	m.look(u, m.now)
}

func (m *model) exit(*rapid.T) {
	u := m.uid()
	m.list.Exit(m.name(u), m.now)
	if u.connections > 0 {
		if u.connections--; u.connections == 0 {
			u.leaves = m.now + presence.Time(m.c.Grace)
		}
	}
}

func (m *model) setValue(t *rapid.T) {
	u, value := m.uid(), rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "value")
	m.list.Set(m.name(u), value, m.now)
	if u.present() && u.value != value {
		u.value, u.set = value, true
		m.look(u, m.now)
	}
}

func (m *model) wait(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(0, 12).Draw(t, "time"))) }

// waitForNext waits until something is due.
func (m *model) waitForNext(*rapid.T) {
	if due, found := m.list.Next(); found && due > m.now {
		m.pass(time.Duration(due - m.now))
	}
}

// first returns the first of the times that belong to some uids.
func (m *model) first(of func(u *modelUID) (at presence.Time, counts bool)) (first presence.Time, found bool) {
	for _, u := range m.uids {
		if at, counts := of(u); counts && (!found || at < first) {
			first, found = at, true
		}
	}
	return first, found
}

// ripe returns when the first difference is old enough.
func (m *model) ripe() (presence.Time, bool) {
	at, found := m.first(func(u *modelUID) (presence.Time, bool) { return u.differsSince, u.differs })
	return at + presence.Time(m.c.Every), found
}

// due returns when the list wants to be asked.
func (m *model) due() (due presence.Time, found bool) {
	if m.taken != nil {
		return m.before, true
	}
	if at, found := m.ripe(); found {
		return max(at, m.before), true
	}
	end, found := m.first(func(u *modelUID) (presence.Time, bool) { return u.leaves, u.leaves > 0 })
	switch {
	case !found:
		return 0, false
	case m.c.Silent:
		return end, true
	}
	return max(end+presence.Time(m.c.Every), m.before), true
}

func (m *model) take(t *rapid.T) {
	first, has := m.ripe()
	has = m.taken != nil || has && first <= m.now
	require.Equal(t, has && m.before <= m.now, m.list.Due(m.now))
	c := m.list.Take(m.now)
	switch {
	case !has:
		require.Nil(t, c)
		return
	case m.taken != nil:
		require.Same(t, m.taken, c, "the same change until it is done")
		return
	}
	require.NotNil(t, c)
	m.seq++
	require.Equal(t, m.c.Seq+m.seq, c.Seq)
	m.taken = c
	for uid, u := range m.uids {
		is := presence.Member{UID: uid, Value: u.value}
		require.Equal(t, u.present() && !u.told, slices.Contains(c.Joined, is), uid)
		require.Equal(t, !u.present() && u.told, slices.Contains(c.Left, is), uid)
		require.Equal(t, u.present() && u.told && u.set, slices.Contains(c.Changed, is), uid)
		u.told, u.set, u.differs = u.present(), false, false
	}
}

// done applies the change that was taken to what the owner knows.
func (m *model) done(t *rapid.T) {
	if m.taken == nil {
		t.Skip("nothing taken")
	}
	c := m.taken
	for _, joined := range c.Joined {
		require.NotContains(t, m.owner, joined.UID)
		m.owner[joined.UID] = joined.Value
	}
	for _, changed := range c.Changed {
		require.Contains(t, m.owner, changed.UID)
		m.owner[changed.UID] = changed.Value
	}
	for _, left := range c.Left {
		require.Contains(t, m.owner, left.UID)
		require.Empty(t, left.Value)
		delete(m.owner, left.UID)
	}
	require.Len(t, m.owner, c.Count)
	m.list.Done()
	m.taken = nil
}

func (m *model) postpone(t *rapid.T) {
	m.before = m.now + presence.Time(rapid.IntRange(0, 9).Draw(t, "pause"))
	m.list.Postpone(m.before)
}

// restart continues in another process, where nobody is connected.
func (m *model) restart(*rapid.T) {
	next := presence.New(m.c)
	for s := range m.list.All() {
		next.Restore(s, m.now)
	}
	next.RestoreChange(m.taken, m.c.Seq+m.seq)
	m.list, m.before = next, 0
	for _, u := range m.uids {
		if u.present() {
			u.connections, u.leaves = 0, m.now+presence.Time(m.c.Grace)
		}
		u.differs = false
		m.look(u, m.now)
	}
}

// check compares what can be asked at any time.
func (m *model) check(t *rapid.T) {
	var want []presence.Member
	known := m.taken != nil
	for uid, u := range m.uids {
		if u.present() {
			want = append(want, presence.Member{UID: uid, Value: u.value})
		}
		known = known || u.present() || u.told
	}
	slices.SortFunc(want, func(a, b presence.Member) int { return cmp.Compare(a.UID, b.UID) })
	require.Equal(t, len(want), m.list.Count(m.now))
	require.Equal(t, known, m.list.Busy(m.now))
	n := rapid.IntRange(1, 6).Draw(t, "page")
	var got []presence.Member
	for after := ""; ; after = got[len(got)-1].UID {
		page := m.list.Page(after, n, m.now)
		require.LessOrEqual(t, len(page), n)
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
	}
	require.Equal(t, want, got)
	due, found := m.due()
	next, has := m.list.Next()
	require.Equal(t, found, has)
	require.Equal(t, due, next)
}

func TestList_DoesWhatTheModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := presence.Config{
			Grace:  time.Duration(rapid.IntRange(1, 12).Draw(t, "grace")),
			Every:  time.Duration(rapid.IntRange(1, 12).Draw(t, "every")),
			Silent: rapid.Bool().Draw(t, "silent"),
			Seq:    rapid.Uint64Max(1<<40).Draw(t, "seq"),
		}
		m := &model{
			t: t, c: c, list: presence.New(c), uids: make(map[string]*modelUID), owner: make(map[string]string),
		}
		t.Repeat(map[string]func(*rapid.T){
			"enter": m.enter, "exit": m.exit, "set": m.setValue, "wait": m.wait, "wait for next": m.waitForNext,
			"take": m.take, "done": m.done, "postpone": m.postpone, "restart": m.restart, "": m.check,
		})
		// In the end the owner knows the members.
		m.pass(time.Hour)
		for m.list.Take(m.now) != nil {
			m.take(t)
			m.done(t)
		}
		members := make(map[string]string)
		for _, member := range m.list.Page("", 100, m.now) {
			members[member.UID] = member.Value
		}
		if !c.Silent {
			require.Equal(t, members, maps.Clone(m.owner))
		}
	})
}
