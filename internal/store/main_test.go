package store_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kinds, as dog.Kind has them.
const (
	groups = iota + 1
	replicas
	objects
)

// baseOf stands for the hash that the library makes of an origin and a name.
func baseOf(origin, name string) store.Base {
	sum := sha256.Sum256([]byte(origin + "\x00" + name))
	return store.Base(sum[:24])
}

var errInterrupted = errors.New("interrupted")

// brittle is an engine that ends after so many commits, or reads.
type brittle struct {
	store.Engine
	commits int // that are left; negative: endless
	reads   int // that are left; negative: endless
}

func (b *brittle) Begin() store.Batch { return &brittleBatch{b.Engine.Begin(), b} }

func (b *brittle) Get(key []byte) ([]byte, bool, error) {
	if b.reads == 0 {
		return nil, false, errInterrupted
	}
	b.reads--
	return b.Engine.Get(key)
}

type brittleBatch struct {
	store.Batch
	engine *brittle
}

func (b *brittleBatch) Commit() (uint64, error) {
	if b.engine.commits == 0 {
		return 0, errInterrupted
	}
	b.engine.commits--
	return b.Batch.Commit()
}

// dump returns everything that an engine keeps.
func dump(t require.TestingT, engine store.Engine) map[string]string {
	all := make(map[string]string)
	for pair, err := range engine.Scan(nil, nil, false) {
		require.NoError(t, err)
		all[string(pair.Key)] = string(pair.Value)
	}
	return all
}

// pending returns the index of alarms.
func pending(t require.TestingT, engine store.Engine) []store.DueAlarm {
	namespaces := make(map[uint32]bool)
	for pair, err := range engine.Scan([]byte("t"), []byte("u"), false) {
		require.NoError(t, err)
		namespaces[binary.BigEndian.Uint32(pair.Key[1:])] = true
	}
	var all []store.DueAlarm
	for _, n := range slices.Sorted(maps.Keys(namespaces)) {
		for due, err := range store.AlarmsAfter(engine, store.DueAlarm{Namespace: n, At: math.MinInt64}) {
			require.NoError(t, err)
			all = append(all, due)
		}
	}
	return all
}

// named returns the names of the stored objects of a namespace.
func named(t require.TestingT, engine store.Engine, namespace uint32) []string {
	var all []string
	for name, err := range store.Named(engine, namespace, "", "") {
		require.NoError(t, err)
		all = append(all, name)
	}
	return all
}

// unnamed returns the bases of the other stored objects of a namespace.
func unnamed(t require.TestingT, engine store.Engine, namespace uint32) []store.Base {
	var all []store.Base
	for base, err := range store.Unnamed(engine, namespace, store.Base{}) {
		require.NoError(t, err)
		all = append(all, base)
	}
	return all
}
