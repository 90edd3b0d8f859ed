package sql_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// benchObject is an object with a table t.
type benchObject struct{ dog.Object }

// Insert inserts a row.
func (o *benchObject) Insert(_ context.Context, a int) error {
	_, err := o.Storage().SQL().Exec("INSERT INTO t (a) VALUES (?)", a)
	return err
}

// Select reads a row.
func (o *benchObject) Select(_ context.Context, a int) error {
	_, _, err := dog.QueryRowAs[int](o.Storage().SQL(), "SELECT a FROM t WHERE rowid = ?", a)
	return err
}

// benchTables registers objects with a table t in a runtime as programs have
// it, without the checks of package dogtest.
func benchTables(b *testing.B, options dog.Options) *dog.Namespace[benchObject] {
	options.Store = disk.At(b.TempDir())
	options.Logger = slog.New(slog.DiscardHandler)
	rt, err := dog.New(options)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	objects, err := dog.RegisterObject(
		rt, "cell", &dog.ObjectOptions[benchObject]{Schema: dog.Schema{"CREATE TABLE t (a)"}},
	)
	require.NoError(b, err)
	return objects
}

// BenchmarkSQL runs one statement a turn on a real disk. An insert is answered
// when it is durable.
func BenchmarkSQL(b *testing.B) {
	objects := benchTables(b, dog.Options{})
	ctx := context.Background()
	stub := objects.Named("x")
	require.NoError(b, dog.CallErr(ctx, stub, (*benchObject).Insert, 1))
	b.Run("select", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := dog.CallErr(ctx, stub, (*benchObject).Select, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("insert", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := dog.CallErr(ctx, stub, (*benchObject).Insert, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("insert by 64 callers of an object each", func(b *testing.B) {
		b.SetParallelism(32) // times 2 processors
		b.RunParallel(func(pb *testing.PB) {
			own := objects.New()
			for pb.Next() {
				if err := dog.CallErr(ctx, own, (*benchObject).Insert, 1); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkSQLWake reads a row of objects that are not in memory.
func BenchmarkSQLWake(b *testing.B) {
	objects := benchTables(b, dog.Options{MaxObjects: 1})
	ctx := context.Background()
	stubs := []dog.Stub[benchObject]{objects.New(), objects.New(), objects.New()}
	for _, stub := range stubs {
		require.NoError(b, dog.CallErr(ctx, stub, (*benchObject).Insert, 1))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := dog.CallErr(ctx, stubs[n%len(stubs)], (*benchObject).Select, 1); err != nil {
			b.Fatal(err)
		}
		n++
	}
}
