package storage_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/store/storetest"
	"github.com/godurable/dog/test/internal/fixture"
)

// release runs a release of a program with parcels under a name.
func release(t *testing.T, engine *storetest.Engine, name string, migrations []dog.Migration, run func(*parcels)) {
	t.Helper()
	o := newParcels(t, name, dog.Options{Store: fixture.StoreOf(engine), Migrations: migrations})
	run(o)
	require.NoError(t, o.rt.Shutdown(t.Context()))
}

func TestMigrations_ObjectsAreFoundInTheRenamedNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		renamed := []dog.Migration{{Tag: "v2", Renamed: map[string]string{"packet": "parcel"}}}
		engine := fixture.PromptEngine()
		var a, random dog.ID
		release(t, engine, "packet", nil, func(o *parcels) {
			a = o.Named("a").ID()
			stub := o.New()
			random = stub.ID()
			fill(t, o.Named("a"), "x")
			fill(t, stub, "y")
		})
		release(t, engine, "parcel", renamed, func(o *parcels) {
			require.Equal(t, a, o.Named("a").ID())
			require.Equal(t, "x", contentOf(t, o.Named("a")))
			stub, err := o.ByID(random)
			require.NoError(t, err)
			require.Equal(t, "y", contentOf(t, stub))
			_, err = dog.RegisterObject[parcel](o.rt, "packet", nil)
			require.ErrorAs(t, err, new(*dog.RegistrationError))
			require.ErrorContains(t, err, `renamed to "parcel" by migration "v2"`)
		})
		release(t, fixture.PromptEngine(), "parcel", renamed, func(o *parcels) {
			require.Equal(t, a, o.Named("a").ID(), "a fresh store has other IDs")
		})
	})
}

func TestMigrations_ObjectsAreFoundInTheMergedNamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		release(t, engine, "packet", nil, func(o *parcels) { fill(t, o.Named("a"), "x") })
		release(t, engine, "parcel", nil, func(o *parcels) { fill(t, o.Named("b"), "y") })
		merged := []dog.Migration{{Tag: "v2", Merged: map[string]string{"packet": "parcel"}}}
		release(t, engine, "parcel", merged, func(o *parcels) {
			require.Equal(t, "x", contentOf(t, o.Named("a")))
			require.Equal(t, "y", contentOf(t, o.Named("b")))
			require.Equal(t, []listed{{"a", true, true}, {"b", true, true}}, list(t, o, dog.ObjectListOptions{}))
		})
	})
}

func TestMigrations_DeletedNamespaceLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		release(t, engine, "packet", nil, func(o *parcels) { fill(t, o.Named("a"), "x") })
		deleted := []dog.Migration{{Tag: "v2", Deleted: []string{"packet"}}}
		release(t, engine, "parcel", deleted, func(*parcels) { require.Zero(t, keysLeft(t, engine)) })
		again := append(deleted, dog.Migration{Tag: "v3", Created: []string{"packet"}})
		release(t, engine, "packet", again, func(o *parcels) { require.Empty(t, contentOf(t, o.Named("a"))) })
	})
}

func TestMigrations_AreRefusedByNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		release(t, engine, "parcel", []dog.Migration{{Tag: "v1"}}, func(*parcels) {})
		for tag, migrations := range map[string][]dog.Migration{
			"v1": nil,
			"":   {{}},
			"v2": {{Tag: "v1"}, {Tag: "v2", Deleted: []string{"nobody"}}},
		} {
			_, err := dog.New(dog.Options{Store: fixture.StoreOf(engine), Migrations: migrations})
			var refused *dog.MigrationError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tag, refused.Tag)
			require.NotEmpty(t, refused.Problem)
		}
		engine.Refuse(dog.ErrStoreFull)
		_, err := dog.New(
			dog.Options{Store: fixture.StoreOf(engine), Migrations: []dog.Migration{{Tag: "v1"}, {Tag: "v2"}}},
		)
		require.ErrorIs(t, err, dog.ErrStoreFull)
		require.NotErrorAs(t, err, new(*dog.MigrationError))
	})
}

func TestMigrations_NamespaceKeepsItsKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine := fixture.PromptEngine()
		release(t, engine, "parcel", nil, func(*parcels) {})
		release(t, engine, "other", nil, func(o *parcels) {
			rooms, err := dog.RegisterReplica[fixture.Room](o.rt, "room", nil)
			require.NoError(t, err)
			_, err = dog.RegisterGroup(o.rt, "parcel", rooms, &dog.GroupOptions[fixture.Lobby]{Limit: 1})
			require.ErrorAs(t, err, new(*dog.RegistrationError))
		})
	})
}
