package dog

import (
	"errors"

	"github.com/godurable/dog/internal/store"
)

// A Migration says what a release changes about the namespaces of earlier ones,
// so that their objects are found again. Options.Migrations lists all there
// have ever been, oldest first: new ones are added at the end, and those that
// have been released stay as they are.
//
//	Migrations: []dog.Migration{
//		{Tag: "v2", Renamed: map[string]string{"user": "account"}},
//		{Tag: "v3", Deleted: []string{"session"}},
//	},
//
// A store applies each of them once, when [New] opens it, and remembers that by
// the tag. A store that has no namespace yet just remembers them. IDs do not
// depend on which it was: those of a namespace that was renamed are still made
// of the name it had first.
//
// Within a migration a name has one part only, so the order of its changes does
// not matter; what builds upon each other takes two migrations. A namespace
// that is renamed, deleted or merged must be known to the store, or to an
// earlier migration.
//
// A name that was given up cannot be registered any more until a later
// migration renames another namespace to it or lists it in Created.
type Migration struct {
	// Tag names the migration, for ever.
	Tag string

	// Renamed maps names to new ones, which no namespace has. It takes no time,
	// however many objects there are, and their IDs stay.
	Renamed map[string]string

	// Deleted lists namespaces whose objects are deleted with all they have
	// stored: for a group type, those of its replicas too.
	Deleted []string

	// Merged maps names to those of the namespaces that take the objects: plain
	// objects only, and no two with the same name. A named object gets the ID
	// that its name has there, others keep all of theirs but the last 8 bytes.
	// Alarms go along. What an object has stored is copied, so this takes time
	// and, for a while, space.
	Merged map[string]string

	// Created lists names that an earlier migration gave up and that a new type
	// takes now. Its objects have other IDs than the earlier ones had. A name
	// that no migration has mentioned needs none of this.
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
