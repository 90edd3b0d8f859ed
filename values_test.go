package dog_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

type score struct{ Points int }

func TestValuesAreOfOneType(t *testing.T) {
	_, cells := newCells(t, dog.Options{})
	require.NoError(t, inside(cells.Named("a"), func(_ context.Context, c *cell) error {
		scores := dog.Values[score]{Storage: c.Storage(), Prefix: "score/"}
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

		var all []dog.Value[score]
		for v, err := range scores.List(dog.ListOptions{Reverse: true}) {
			require.NoError(t, err)
			all = append(all, v)
		}
		require.Equal(t, []dog.Value[score]{{"bob", score{1}}, {"ada", score{4}}}, all)
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

func TestAValueThatIsNotOfTheTypeIsAnError(t *testing.T) {
	_, cells := newCells(t, dog.Options{})
	require.NoError(t, inside(cells.Named("a"), func(_ context.Context, c *cell) error {
		require.NoError(t, c.Storage().Put("ada", []byte("three")))
		numbers := dog.Values[int]{Storage: c.Storage()}
		_, found, err := numbers.Get("ada")
		require.ErrorContains(t, err, `key "ada"`)
		require.False(t, found)
		for _, err := range numbers.List(dog.ListOptions{}) {
			require.ErrorContains(t, err, `key "ada"`)
		}
		require.ErrorContains(t, dog.Values[func()]{Storage: c.Storage()}.Put("f", func() {}), `key "f"`)
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

func TestValuesMayHaveACodecOfTheirOwn(t *testing.T) {
	_, cells := newCells(t, dog.Options{})
	require.NoError(t, inside(cells.Named("a"), func(_ context.Context, c *cell) error {
		texts := dog.Values[string]{Storage: c.Storage(), Codec: backwards{}}
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
