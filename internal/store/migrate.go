package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/godurable/dog/internal/exactjson"
)

// tagRecord is the stored record of a migration, under its position in the
// order.
type tagRecord struct {
	Tag    string
	Digest string
	Begun  bool // it was interrupted, and must be applied again
}

func tagKey(place int) []byte {
	return binary.BigEndian.AppendUint32([]byte{migrationKeys}, uint32(place))
}

// Migrate applies the migrations that the store has not seen, in order, each
// once. It must be called before any Register. baseOf returns the base of the
// object with a name, in a namespace with an origin.
//
// A migration interrupted by an error or the end of the process is finished by
// the next Migrate. When Migrate returns nil, everything is durable. An error
// that is caused by the migrations themselves is always a [Refusal].
func (c *Catalog) Migrate(migrations []Migration, baseOf func(origin, name string) Base) error {
	c.mu.Lock() // uncontended: the catalog is not shared yet
	defer c.mu.Unlock()
	histories := make([]history, 1, len(migrations)+1) // before each migration, and after the last
	for i, m := range migrations {
		if slices.ContainsFunc(migrations[:i], func(earlier Migration) bool { return earlier.Tag == m.Tag }) {
			return &Refusal{m.Tag, "the tag is used twice"}
		}
		next, err := histories[i].add(m)
		if err != nil {
			return err
		}
		histories = append(histories, next)
	}
	applied, err := c.applied(migrations)
	if err != nil {
		return err
	}
	r := &migrating{catalog: c, baseOf: baseOf, bulk: bulk{engine: c.engine}}
	if err := r.plan(migrations[applied:], histories[applied:]); err != nil {
		return err
	}
	for i, m := range migrations[applied:] {
		if err := r.apply(applied+i, m, histories[applied+i+1]); err != nil {
			r.bulk.Discard()
			return fmt.Errorf("migration %q: %w", m.Tag, err)
		}
	}
	c.past = histories[len(migrations)]
	return AwaitDurable(context.Background(), c.engine, r.bulk.last)
}

// AwaitDurable waits until a commit is durable. It returns the error of
// [Engine.OnDurable], or the cause of ctx's end if that comes first.
func AwaitDurable(ctx context.Context, engine Engine, commit uint64) error {
	outcome := make(chan error, 1)
	engine.OnDurable(commit, func(err error) { outcome <- err })
	select {
	case err := <-outcome:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// applied returns the number of migrations that the store has applied
// completely. It returns a Refusal if its records do not match the declared
// migrations. The caller must hold mu.
func (c *Catalog) applied(migrations []Migration) (n int, err error) {
	place := 0
	for pair, err := range c.engine.Scan([]byte{migrationKeys}, []byte{migrationKeys + 1}, false) {
		if err != nil {
			return 0, err
		}
		var record tagRecord
		if err := json.Unmarshal(pair.Value, &record); err != nil {
			return 0, fmt.Errorf("%w: record of a migration: %w", ErrCorrupt, err)
		}
		if err := record.agrees(place, migrations); err != nil {
			return 0, err
		}
		place++
		if !record.Begun {
			n = place
		}
	}
	return n, nil
}

// agrees checks that a migration is declared as it was when it was applied.
func (t tagRecord) agrees(place int, migrations []Migration) error {
	declared := slices.IndexFunc(migrations, func(m Migration) bool { return m.Tag == t.Tag })
	switch {
	case declared < 0:
		return &Refusal{t.Tag, "it was applied to the store and is no longer declared"}
	case declared != place:
		problem := fmt.Sprintf(
			"it was applied as number %d and is now number %d: add new migrations at the end", place+1, declared+1,
		)
		return &Refusal{t.Tag, problem}
	}
	digest, err := migrations[place].digest()
	if err != nil {
		return err
	}
	if digest != t.Digest {
		return &Refusal{t.Tag, "it has been changed since it was applied"}
	}
	return nil
}

// migrating applies migrations. It is used by one goroutine, which holds the
// catalog's mu.
type migrating struct {
	catalog *Catalog
	baseOf  func(origin, name string) Base
	bulk    bulk
}

// planned is the planned state of a namespace.
type planned struct {
	kind  int
	parts []uint32 // the numbers of the namespaces whose objects it will contain
}

// plan returns a Refusal if a migration cannot be applied to this store. before
// contains the history before each migration.
func (r *migrating) plan(migrations []Migration, before []history) error {
	spaces := make(map[string]planned)
	for name, n := range r.catalog.spaces {
		spaces[name] = planned{n.Kind, []uint32{n.Number}}
	}
	fresh := len(spaces) == 0 // the migrations refer to a time before this store
	for i, m := range migrations {
		refuse := func(format string, args ...any) error { return &Refusal{m.Tag, fmt.Sprintf(format, args...)} }
		known := func(name string) bool {
			_, stored := spaces[name]
			_, named := before[i][name]
			return stored || named || fresh
		}
		for _, name := range m.sources() {
			if !known(name) {
				return refuse("the store has no %q", name)
			}
		}
		for from, to := range m.Renamed {
			if _, exists := spaces[to]; exists {
				return refuse("the store has a %q already", to)
			}
			if s, ok := spaces[from]; ok {
				spaces[to] = s
				delete(spaces, from)
			}
		}
		for _, name := range m.Deleted {
			delete(spaces, name)
		}
		for _, from := range slices.Sorted(maps.Keys(m.Merged)) {
			into := m.Merged[from]
			if !known(into) {
				return refuse("the store has no %q", into)
			}
			source, ok := spaces[from]
			if !ok {
				continue
			}
			target, ok := spaces[into]
			if !ok {
				target.kind = source.kind
			}
			if source.kind != kindObject || target.kind != kindObject {
				return refuse("%q and %q cannot be merged: only plain objects can", from, into)
			}
			name, err := r.shared(source.parts, target.parts)
			if err != nil {
				return err
			}
			if name != "" {
				return refuse("%q and %q both have an object %q", from, into, name)
			}
			delete(spaces, from)
			spaces[into] = planned{target.kind, slices.Concat(target.parts, source.parts)}
		}
	}
	return nil
}

// sources returns the names from which a migration takes something, in order.
func (m Migration) sources() []string {
	names := slices.Concat(slices.Collect(maps.Keys(m.Renamed)), m.Deleted, slices.Collect(maps.Keys(m.Merged)))
	slices.Sort(names)
	return names
}

// shared returns the name of an object that exists in both sets of namespaces,
// or "".
func (r *migrating) shared(these, those []uint32) (string, error) {
	for _, a := range these {
		for name, err := range Named(r.catalog.engine, a, "", "") {
			if err != nil {
				return "", err
			}
			for _, b := range those {
				_, found, err := r.catalog.engine.Get(Identity{Namespace: b, Name: name}.indexKey())
				if err != nil {
					return "", err
				}
				if found {
					return name, nil
				}
			}
		}
	}
	return "", nil
}

// apply applies one migration. after is the history including it. Long
// operations come first, in repeatable steps. The last step changes the catalog
// and the record together.
func (r *migrating) apply(place int, m Migration, after history) error {
	digest, err := m.digest()
	if err != nil {
		return err
	}
	spaces := maps.Clone(r.catalog.spaces)
	record := tagRecord{Tag: m.Tag, Digest: digest, Begun: true}
	if len(m.Deleted)+len(m.Merged) > 0 && len(spaces) > 0 {
		if err := r.commit(place, record, nil); err != nil { // from now on the declaration must not change
			return err
		}
	}
	changes := make(map[string]*Namespace) // nil: deleted
	for from, to := range m.Renamed {
		if n, ok := spaces[from]; ok {
			changes[from], changes[to] = nil, &n
		}
	}
	for _, name := range m.Deleted {
		if n, ok := spaces[name]; ok {
			if err := r.deleteObjects(n); err != nil {
				return err
			}
			changes[name] = nil
		}
	}
	for _, from := range slices.Sorted(maps.Keys(m.Merged)) {
		source, ok := spaces[from]
		if !ok {
			continue
		}
		into := m.Merged[from]
		target, ok := spaces[into]
		if !ok {
			target = Namespace{Number: r.catalog.freeNumber(), Origin: after.origin(into), Kind: source.Kind}
			if err := r.enter(into, target); err != nil {
				return err
			}
			spaces[into] = target
		}
		if err := r.moveObjects(source, target); err != nil {
			return err
		}
		changes[from] = nil
	}
	if _, err := r.bulk.Commit(); err != nil {
		return err
	}
	record.Begun = false
	return r.commit(place, record, changes)
}

// enter adds a namespace to the catalog before objects are moved there, so that
// after an interruption the catalog has every number in use.
func (r *migrating) enter(name string, n Namespace) error {
	if err := setNamespace(&r.bulk, name, n); err != nil {
		return err
	}
	if _, err := r.bulk.Commit(); err != nil {
		return err
	}
	r.catalog.spaces[name] = n
	return nil
}

// commit changes the catalog and the record of a migration together.
func (r *migrating) commit(place int, record tagRecord, changes map[string]*Namespace) error {
	value, err := exactjson.Marshal(record)
	if err != nil {
		return err
	}
	for name, n := range changes {
		if n == nil {
			r.bulk.Delete(namespaceKey(name))
		} else if err := setNamespace(&r.bulk, name, *n); err != nil {
			return err
		}
	}
	r.bulk.Set(tagKey(place), value)
	if _, err := r.bulk.Commit(); err != nil {
		return err
	}
	for name, n := range changes {
		if n == nil {
			delete(r.catalog.spaces, name)
		} else {
			r.catalog.spaces[name] = *n
		}
	}
	return nil
}
