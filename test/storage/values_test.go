package storage_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

type score struct{ Points int }

func TestValues_HaveOneType(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		scores := dog.MapOf[score](c.Storage(), "score/")
		_, found, err := scores.Get("ada")
		require.NoError(t, err)
		require.False(t, found)
		require.NoError(t, scores.Put("ada", score{3}))
		updated, err := scores.Update("ada", func(s score) (score, error) { s.Points++; return s, nil })
		require.NoError(t, err)
		require.Equal(t, score{4}, updated)
		_, err = scores.Update("ada", func(score) (score, error) { return score{9}, errors.New("no") })
		require.Error(t, err)
		require.NoError(t, scores.Put("bob", score{1}))
		require.NoError(t, c.Storage().Put("scores", []byte("another key")))

		var all []dog.Entry[score]
		for v, err := range scores.List(dog.ListOptions{Reverse: true}) {
			require.NoError(t, err)
			all = append(all, v)
		}
		require.Equal(t, []dog.Entry[score]{{Key: "bob", Value: score{1}}, {Key: "ada", Value: score{4}}}, all)
		for v, err := range scores.List(dog.ListOptions{StartAfter: "ada", End: "c"}) {
			require.NoError(t, err)
			require.Equal(t, "bob", v.Key)
		}
		n, err := scores.Delete("ada", "nobody")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		return nil
	}))
}

func TestValues_WrongTypeIsAnError(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		require.NoError(t, c.Storage().Put("ada", []byte("three")))
		numbers := dog.MapOf[int](c.Storage(), "")
		_, found, err := numbers.Get("ada")
		require.ErrorContains(t, err, `key "ada"`)
		require.False(t, found)
		for _, err := range numbers.List(dog.ListOptions{}) {
			require.ErrorContains(t, err, `key "ada"`)
		}
		require.ErrorContains(t, dog.MapOf[func()](c.Storage(), "").Put("f", func() {}), `key "f"`)
		return nil
	}))
}

// backwards is a codec of its own kind, for strings.
type backwards struct{}

func (backwards) Encode(v any) ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString([]byte(v.(string)))), nil
}

func (backwards) Decode(data []byte, v any) error {
	text, err := base64.StdEncoding.DecodeString(string(data))
	*v.(*string) = string(text)
	return err
}

func TestValues_MayHaveACodec(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		texts := dog.MapOf[string](c.Storage(), "").With(backwards{})
		require.NoError(t, texts.Put("a", "hello"))
		raw, _, err := c.Storage().Get("a")
		require.NoError(t, err)
		require.Equal(t, "aGVsbG8=", string(raw))
		text, found, err := texts.Get("a")
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, "hello", text)
		return nil
	}))
}

// marked is JSON with a mark in front, as a program may add a version.
type marked struct{ mark byte }

func (m marked) Encode(v any) ([]byte, error) {
	data, err := dog.JSON.Encode(v)
	return append([]byte{m.mark}, data...), err
}

func (m marked) Decode(data []byte, v any) error {
	if len(data) == 0 || data[0] != m.mark {
		return errors.New("another mark")
	}
	return dog.JSON.Decode(data[1:], v)
}

func TestValues_CodecMayBuildOnJSON(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		plain := dog.MapOf[any](c.Storage(), "")
		values := plain.With(marked{'1'})
		require.NoError(t, values.Put("a", []any{"x", 1.0}))
		raw, _, err := c.Storage().Get("a")
		require.NoError(t, err)
		require.Equal(t, `1["x",1]`, string(raw))
		value, _, err := values.Get("a")
		require.NoError(t, err)
		require.Equal(t, []any{"x", 1.0}, value)
		_, _, err = plain.With(marked{'2'}).Get("a")
		require.ErrorContains(t, err, "another mark")

		require.Error(t, values.Put("b", "\xff"), "JSON would replace it")
		require.NoError(t, c.Storage().Put("c", []byte("19007199254740993")))
		_, _, err = values.Get("c")
		require.Error(t, err, "float64 would round it")

		require.NoError(t, values.With(dog.JSON).Put("d", "x"))
		value, _, err = plain.Get("d")
		require.NoError(t, err)
		require.Equal(t, "x", value, "JSON is what a Map has")
		return nil
	}))
}

func TestValues_UpdateThatWaitsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, cells := fixture.NewObjects(t, dog.Options{})
		update := func(wait func(ctx context.Context) error) (err error) {
			return fixture.InTurn(cells.Named("a"), func(ctx context.Context, c *fixture.Object) error {
				_, err := dog.MapOf[int](c.Storage(), "").Update("n", func(old int) (int, error) {
					return old + 1, wait(ctx)
				})
				return err
			})
		}
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				require.ErrorIs(t, update(func(ctx context.Context) error {
					return dog.Await(ctx, func() error { time.Sleep(time.Second); return nil })
				}), dog.ErrInTransaction)
				require.NoError(t, update(func(context.Context) error { time.Sleep(time.Second); return nil }))
			})
		}
		all.Wait()
		require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
			n, _, err := dog.MapOf[int](c.Storage(), "").Get("n")
			require.Equal(t, 10, n)
			return err
		}))
	})
}

func TestValues_UpdateThatFailsKeepsNothing(t *testing.T) {
	errRefused := errors.New("refused")
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		all := dog.MapOf[int](c.Storage(), "")
		require.NoError(t, all.Put("n", 1))
		_, err := all.Update("n", func(int) (int, error) {
			require.NoError(t, all.Put("other", 1))
			return 2, errRefused
		})
		require.ErrorIs(t, err, errRefused)
		_, found, err := all.Get("other")
		require.NoError(t, err)
		require.False(t, found)
		n, _, err := all.Get("n")
		require.Equal(t, 1, n)
		return err
	}))
}

func TestValues_ThatJSONWouldChangeAreRefused(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	require.NoError(t, fixture.InTurn(cells.Named("a"), func(_ context.Context, c *fixture.Object) error {
		s := c.Storage()
		require.ErrorContains(t, dog.MapOf[string](s, "").Put("bad", "a\xff"), `"bad"`)
		require.ErrorContains(
			t, dog.MapOf[map[string]any](s, "").Put("bad", map[string]any{"k": []string{"\xff"}}), "UTF-8",
		)
		_, found, err := s.Get("bad")
		require.NoError(t, err)
		require.False(t, found, "nothing is stored")

		require.NoError(t, dog.MapOf[any](s, "").Put("n", int64(math.MaxInt64)))
		_, found, err = dog.MapOf[any](s, "").Get("n")
		require.ErrorContains(t, err, "9223372036854775807")
		require.False(t, found)
		n, found, err := dog.MapOf[int64](s, "").Get("n")
		require.NoError(t, err)
		require.True(t, found)
		require.EqualValues(t, math.MaxInt64, n)
		exact, _, err := dog.MapOf[json.Number](s, "").Get("n")
		require.NoError(t, err)
		require.EqualValues(t, "9223372036854775807", exact)
		return nil
	}))
}
