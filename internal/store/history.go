package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"

	"github.com/godurable/dog/internal/exactjson"
)

// A Migration is a migration of namespaces declared by a release, as in
// dog.Migration.
type Migration struct {
	Tag     string
	Renamed map[string]string // old name to new
	Deleted []string
	Merged  map[string]string // name to the name of the namespace that receives its objects
	Created []string
}

// A Refusal is the reason why migrations cannot be applied. Nothing has been
// changed.
type Refusal struct {
	Tag     string // of the invalid migration; "" if it has none
	Problem string
}

func (r *Refusal) Error() string { return fmt.Sprintf("migration %q: %s", r.Tag, r.Problem) }

// digest returns a hash of the migration's content.
func (m Migration) digest() (string, error) {
	m.Deleted, m.Created = slices.Sorted(slices.Values(m.Deleted)), slices.Sorted(slices.Values(m.Created))
	content, err := exactjson.Marshal(m) // maps are sorted
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), err
}

// history is the effect of a sequence of migrations on names, independent of a
// store. A name that it does not contain may exist.
type history map[string]standing

type standing struct {
	origin string // the name from which IDs are derived
	gone   string // why there is no namespace with this name; "" if there may be one
}

// origin returns the name from which the IDs of a namespace are derived.
func (h history) origin(name string) string {
	if s, ok := h[name]; ok {
		return s.origin
	}
	return name
}

// add checks the next migration and returns the history that includes it.
func (h history) add(m Migration) (history, error) {
	if err := h.check(m); err != nil {
		return nil, err
	}
	next := maps.Clone(h)
	if next == nil {
		next = make(history)
	}
	drop := func(name, how string) { next[name] = standing{gone: fmt.Sprintf("was %s by migration %q", how, m.Tag)} }
	for from, to := range m.Renamed {
		next[to] = standing{origin: h.origin(from)}
		drop(from, fmt.Sprintf("renamed to %q", to))
	}
	for _, name := range m.Deleted {
		drop(name, "deleted")
	}
	for from, into := range m.Merged {
		next[into] = standing{origin: h.origin(into)}
		drop(from, fmt.Sprintf("merged into %q", into))
	}
	for _, name := range m.Created {
		// The plain name may be the origin of a renamed namespace, and IDs must
		// not be shared.
		next[name] = standing{origin: name + "\x00" + m.Tag}
	}
	return next, nil
}

// check returns a Refusal if the migration contradicts the history or itself. A
// name may be mentioned only once in a migration, except as the target of
// several merges, so the order of its changes does not matter.
func (h history) check(m Migration) error {
	refuse := func(format string, args ...any) error { return &Refusal{m.Tag, fmt.Sprintf(format, args...)} }
	if m.Tag == "" {
		return refuse("it has no tag")
	}
	part := make(map[string]string)
	problem := ""
	take := func(name, as string, shared bool) {
		switch {
		case problem != "":
		case name == "":
			problem = "it has an empty name"
		case part[name] != "" && (!shared || part[name] != as):
			problem = fmt.Sprintf("it mentions %q twice", name)
		}
		part[name] = as
	}
	leaves := func(name, as string) {
		take(name, as, false)
		if gone := h[name].gone; gone != "" && problem == "" {
			problem = fmt.Sprintf("%q %s", name, gone)
		}
	}
	for _, from := range slices.Sorted(maps.Keys(m.Renamed)) {
		to := m.Renamed[from]
		leaves(from, "renamed")
		take(to, "new", false)
		if s, ok := h[to]; ok && s.gone == "" && problem == "" {
			problem = fmt.Sprintf("%q exists already", to)
		}
	}
	for _, name := range m.Deleted {
		leaves(name, "deleted")
	}
	for _, from := range slices.Sorted(maps.Keys(m.Merged)) {
		into := m.Merged[from]
		leaves(from, "merged")
		take(into, "into", true)
		if gone := h[into].gone; gone != "" && problem == "" {
			problem = fmt.Sprintf("%q %s", into, gone)
		}
	}
	for _, name := range m.Created {
		take(name, "created", false)
		if h[name].gone == "" && problem == "" {
			problem = fmt.Sprintf("%q needs no migration: no earlier migration removed the name", name)
		}
	}
	if problem != "" {
		return refuse("%s", problem)
	}
	return nil
}
