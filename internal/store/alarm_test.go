package store

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func drawAlarm(t *rapid.T) Alarm {
	return Alarm{
		Name:      rapid.SampledFrom(strings.Split(",a,b,b\x00,\xff,c,d,e,f,g,h,i,j,k,l,m", ",")).Draw(t, "name"),
		Scheduled: rapid.Int64Range(1, math.MaxInt64).Draw(t, "scheduled"),
		At:        rapid.Int64Range(1, 9).Draw(t, "at"),
		Runs:      rapid.IntRange(0, 7).Draw(t, "runs"),
		Failed:    rapid.Bool().Draw(t, "failed"),
		Err:       rapid.StringN(0, 5, -1).Draw(t, "err"),
		Payload:   rapid.SliceOfN(rapid.Byte(), 0, 5).Draw(t, "payload"),
		Serial:    rapid.Uint64Min(1).Draw(t, "serial"),
	}
}

func TestAlarm_RoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAlarm(t)
		read, err := decodeAlarm(a.Name, a.encode())
		require.NoError(t, err)
		require.Equal(t, a, read)
	})
}

func TestAlarm_DamageIsRefused(t *testing.T) {
	whole := Alarm{Name: "x", Scheduled: 1 << 40, At: 1 << 41, Runs: 3, Err: "oh", Serial: 7}.encode()
	for n := range whole {
		_, err := decodeAlarm("x", whole[:n])
		require.ErrorIs(t, err, ErrCorrupt, "%d bytes", n)
	}
	whole[0]++
	_, err := decodeAlarm("x", whole)
	require.ErrorIs(t, err, ErrCorrupt, "another version")
	rapid.Check(t, func(t *rapid.T) { // anything but a panic
		_, _ = decodeAlarm("x", append([]byte{alarmVersion}, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")...))
	})
}

// pendingOf returns the names of a model's alarms that have not failed, by
// time.
func pendingOf(model map[string]Alarm) (list []NameAt) {
	for _, a := range model {
		if !a.Failed {
			list = append(list, NameAt{At: a.At, Name: a.Name})
		}
	}
	slices.SortFunc(list, func(a, b NameAt) int {
		if timeKey(a.At, a.Name) < timeKey(b.At, b.Name) {
			return -1
		}
		return 1
	})
	return list
}

// The index always has the earliest alarm of each object, and each commit that
// changes alarms returns its time.
func TestAlarm_IndexHasTheEarliestOfEachObject(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		engine := NewMemory()
		ids := []Identity{{Namespace: 1, Base: Base{1}, Name: "x"}, {Namespace: 2, Base: Base{2}}}
		objects := []*Object{NewObject(engine, ids[0]), NewObject(engine, ids[1])}
		models := []map[string]Alarm{{}, {}}
		for range rapid.IntRange(1, 20).Draw(t, "commits") {
			i := rapid.IntRange(0, 1).Draw(t, "object")
			o, model := objects[i], make(map[string]Alarm)
			for name, a := range models[i] {
				model[name] = a
			}
			touched := false
			for range rapid.IntRange(0, 24).Draw(t, "steps") {
				a := drawAlarm(t)
				_, there := model[a.Name]
				switch rapid.IntRange(0, 8).Draw(t, "step") {
				case 0:
					o.DeleteAll()
					touched = true
					clear(model)
				case 1, 2, 3:
					existed, err := o.DeleteAlarm(a.Name)
					require.NoError(t, err)
					require.Equal(t, there, existed)
					touched = touched || existed && !model[a.Name].Failed
					delete(model, a.Name)
				default:
					require.NoError(t, o.SetAlarm(a))
					touched = touched || !a.Failed || there && !model[a.Name].Failed
					model[a.Name] = a
				}
			}
			if rapid.IntRange(0, 3).Draw(t, "end") == 0 {
				o.Rollback()
				continue
			}
			models[i] = model
			pending := pendingOf(model)
			first, found, err := o.FirstAlarm()
			require.NoError(t, err)
			require.Equal(t, len(pending) > 0, found)
			if found {
				require.Equal(t, pending[0], NameAt{At: first.At, Name: first.Name})
			}
			commit, err := o.Commit()
			require.NoError(t, err)
			if touched && found {
				require.Equal(t, first.At, commit.Alarm)
			} else {
				require.Zero(t, commit.Alarm)
			}
			if rapid.Bool().Draw(t, "reopened") {
				objects[i] = NewObject(engine, ids[i])
			}
		}
		var want, have []DueAlarm
		for i, model := range models {
			pending := pendingOf(model)
			var names []NameAt
			for due, err := range objects[i].PendingAlarms() {
				require.NoError(t, err)
				names = append(names, due)
			}
			require.Equal(t, pending, names)
			if len(pending) > 0 {
				want = append(want, DueAlarm{At: pending[0].At, Namespace: ids[i].Namespace, Base: ids[i].Base})
			}
		}
		for namespace := range uint32(4) {
			var due []DueAlarm
			for d, err := range AlarmsAfter(engine, DueAlarm{Namespace: namespace, At: math.MinInt64}) {
				require.NoError(t, err)
				set, err := d.Set(engine)
				require.NoError(t, err)
				require.True(t, set)
				due = append(due, d)
			}
			require.True(t, slices.IsSortedFunc(due, func(a, b DueAlarm) int {
				if a.Before(b) {
					return -1
				}
				return 1
			}))
			for i, d := range due {
				n := 0
				for range AlarmsAfter(engine, d) {
					n++
				}
				require.Equal(t, len(due)-1-i, n)
			}
			have = append(have, due...)
		}
		require.ElementsMatch(t, want, have)
	})
}
