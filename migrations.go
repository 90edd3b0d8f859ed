package dog

import (
	"errors"

	"github.com/godurable/dog/internal/store"
)

// A Migration describes the changes that a release makes to the namespaces of
// earlier releases, so that their objects are still found. Options.Migrations
// lists all migrations there have ever been, oldest first. Add new migrations
// at the end and leave released migrations as they are.
//
//	Migrations: []dog.Migration{
//		{Tag: "v2", Renamed: map[string]string{"user": "account"}},
//		{Tag: "v3", Deleted: []string{"session"}},
//	},
//
// A store applies each migration once, when [New] opens it, and remembers the
// tag. A store that has no namespaces yet only remembers the tags. Object IDs
// are the same in both cases: the IDs of a renamed namespace are still derived
// from its first name.
//
// Each name may have only one role within a migration, so the order of the
// changes in it does not matter. Changes that build on each other need two
// migrations. A namespace that is renamed, deleted or merged must be known to
// the store or to an earlier migration.
//
// A name that was given up cannot be registered again until a later migration
// renames another namespace to it or lists it in Created.
type Migration struct {
	// Tag names the migration. It must never change.
	Tag string

	// Renamed maps names to new names, which no namespace may have. Renaming
	// takes no time, regardless of the number of objects, and object IDs stay
	// the same.
	Renamed map[string]string

	// Deleted lists namespaces whose objects are deleted with their storage.
	// For a group type, its replicas are deleted too.
	Deleted []string

	// Merged maps the names of namespaces to the names of the namespaces that
	// take over their objects. Only namespaces of plain objects can be merged,
	// and no two objects may have the same name. A named object gets the ID
	// that its name has in the new namespace. Other objects keep their IDs
	// except for the last 8 bytes. Alarms move with their objects. The storage
	// of the objects is copied, which takes time and temporarily space.
	Merged map[string]string

	// Created lists names that an earlier migration gave up and that a new type
	// now takes. Its objects have other IDs than the earlier objects. A name
	// that no migration has mentioned does not need to be listed.
	Created []string
}

// migrate brings the namespaces of the store to their present form.
func (rt *Runtime) migrate() error {
	migrations := make([]store.Migration, len(rt.opts.Migrations))
	for i, m := range rt.opts.Migrations {
		migrations[i] = store.Migration(m)
	}
	err := rt.catalog.Migrate(migrations, func(origin, name string) store.Base { return namedID(origin, ID{}, name).base() })
	if r, ok := errors.AsType[*store.Refusal](err); ok {
		return &MigrationError{Tag: r.Tag, Problem: r.Problem}
	}
	return err
}
