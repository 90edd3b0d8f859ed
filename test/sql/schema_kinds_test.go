package sql_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// An archive has a database, whatever its kind.
type (
	archiveObject  struct{ dog.Object }
	archiveReplica struct{ dog.Replica }
	archiveGroup   struct{ dog.Group }
)

func columns(s *dog.Storage) (names []string, err error) {
	for name, err := range dog.QueryAs[string](s.SQL(), "SELECT name FROM pragma_table_info('t') ORDER BY cid") {
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func (a *archiveObject) Columns(context.Context) ([]string, error)  { return columns(a.Storage()) }
func (a *archiveReplica) Columns(context.Context) ([]string, error) { return columns(a.Storage()) }
func (a *archiveGroup) Columns(context.Context) ([]string, error)   { return columns(a.Storage()) }

// A release is a version of a program, with the schema of its types.
type release struct {
	schema     dog.Schema
	allowNewer bool
}

// run returns the columns that the archive of a kind has in this release.
func (r release) run(t *testing.T, d dog.Store, kind dog.Kind) ([]string, error) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{Store: d})
	defer func() { require.NoError(t, rt.Shutdown(context.Background())) }()
	objects, err := dog.RegisterObject(rt, "object", &dog.ObjectOptions[archiveObject]{
		Schema: r.schema, AllowNewerSchema: r.allowNewer,
	})
	require.NoError(t, err)
	replicas, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[archiveReplica]{
		Schema: r.schema, AllowNewerSchema: r.allowNewer,
	})
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[archiveGroup]{
		Limit: 1, Schema: r.schema, AllowNewerSchema: r.allowNewer,
	})
	require.NoError(t, err)
	switch kind {
	case dog.KindObject:
		return dog.Call0(t.Context(), objects.Named("main"), (*archiveObject).Columns)
	case dog.KindGroup:
		return dog.Call0(t.Context(), groups.Named("main").Stub, (*archiveGroup).Columns)
	}
	// The group that takes the replica up again is one without a schema.
	plain, err := dog.RegisterGroup(rt, "plain", replicas, &dog.GroupOptions[dog.Group]{Limit: 1})
	require.NoError(t, err)
	replica, err := plain.Named("main").Identify(t.Context(), "ada")
	require.NoError(t, err)
	defer replica.Release()
	return dog.Call0(t.Context(), replica, (*archiveReplica).Columns)
}

func TestSchema_AllKindsOfObjectsMayAllowANewerSchema(t *testing.T) {
	first := dog.Schema{"CREATE TABLE t (a)"}
	second := append(first[:1:1], "ALTER TABLE t ADD COLUMN b")
	for _, kind := range []dog.Kind{dog.KindObject, dog.KindReplica, dog.KindGroup} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dogtest.NewDisk(t)
				names, err := release{first, false}.run(t, d, kind)
				require.NoError(t, err)
				require.Equal(t, []string{"a"}, names)
				names, err = release{second, false}.run(t, d, kind)
				require.NoError(t, err)
				require.Equal(t, []string{"a", "b"}, names)

				_, err = release{first, false}.run(t, d, kind)
				require.ErrorIs(t, err, dog.ErrReset)
				wrong, ok := errors.AsType[*dog.SchemaError](err)
				require.True(t, ok)
				require.Equal(t, 1, wrong.Step)
				require.ErrorContains(t, wrong.Err, "AllowNewerSchema")

				names, err = release{first, true}.run(t, d, kind)
				require.NoError(t, err)
				require.Equal(t, []string{"a", "b"}, names, "the database stays as the later release has made it")
				changed := release{dog.Schema{"CREATE TABLE t (x)"}, true}
				_, err = changed.run(t, d, kind)
				require.ErrorIs(t, err, dog.ErrReset, "steps that both have must be the same")
			})
		})
	}
}

func TestSchema_ErrorWrapsTheErrorOfItsStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, objects := newTables(t, dogtest.NewDisk(t), dog.ObjectOptions[fixture.Object]{
			Schema: dog.Schema{"CREATE TABLE t (a NOT NULL)", "INSERT INTO t VALUES (NULL)"},
		})
		err := fixture.Commit(t, objects.Named("x"), func(*dog.Storage) error { return nil })
		wrong, ok := errors.AsType[*dog.SchemaError](err)
		require.True(t, ok)
		require.Equal(t, 1, wrong.Step)
		require.ErrorIs(t, wrong.Err, dog.ErrConstraint)
	})
}
