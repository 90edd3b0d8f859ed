package storage_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// IDs are in stores and in links that people have kept, so they must never
// change.
func TestID_OfANameNeverChanges(t *testing.T) {
	for range 2 {
		_, cells := fixture.NewObjects(t, dog.Options{})
		stub := cells.Named("ada")
		require.Equal(t, goldenID, stub.ID().String())
		require.Equal(t, "ada", stub.Name())
		require.NotEqual(t, stub.ID(), cells.Named("Ada").ID())
	}
	other := newParcels(t, "parcel", dog.Options{})
	require.NotEqual(t, goldenID, other.Named("ada").ID().String(), "namespaces are apart")
}

func TestID_IsParsedByItsNamespaceOnly(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	other := newParcels(t, "parcel", dog.Options{})
	for name, stub := range map[string]dog.Stub[fixture.Object]{"named": cells.Named("ada"), "random": cells.New()} {
		t.Run(name, func(t *testing.T) {
			text := stub.ID().String()
			require.Len(t, text, 64)
			parsed, err := cells.Parse(text)
			require.NoError(t, err)
			require.Equal(t, stub.ID(), parsed.ID())
			same, err := cells.ByID(stub.ID())
			require.NoError(t, err)
			require.Equal(t, stub.ID(), same.ID())

			_, err = other.Parse(text)
			require.ErrorIs(t, err, dog.ErrForeignID)
			_, err = other.ByID(stub.ID())
			require.ErrorIs(t, err, dog.ErrForeignID)
			for i := range text { // whichever digit is wrong
				digit := "0"
				if text[i] == '0' {
					digit = "1"
				}
				_, err = cells.Parse(text[:i] + digit + text[i+1:])
				require.ErrorIs(t, err, dog.ErrForeignID)
			}
			for _, wrong := range []string{"", text[1:], text + "0", "x" + text[1:], strings.Repeat("0", 64)} {
				_, err = cells.Parse(wrong)
				require.ErrorIs(t, err, dog.ErrForeignID, wrong)
			}
		})
	}
}

func TestID_RandomIDsAreUnique(t *testing.T) {
	_, cells := fixture.NewObjects(t, dog.Options{})
	seen := make(map[dog.ID]bool)
	for range 1000 {
		stub := cells.New()
		require.Empty(t, stub.Name())
		require.False(t, seen[stub.ID()])
		seen[stub.ID()] = true
	}
}

// herald is an object that records what its alarm handler knows of it.
type herald struct {
	dog.Object
	rang chan<- string
}

func (h *herald) OnAlarm(context.Context, dog.Alarm) error {
	h.rang <- h.Name() + " " + h.ID().String()
	return nil
}

// Arm sets an alarm and returns the object's own name.
func (h *herald) Arm(_ context.Context, after time.Duration) (string, error) {
	return h.Name(), h.Storage().Alarms().Set(time.Now().Add(after))
}

func TestID_ObjectKnowsItsNameHoweverItWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		engine, rang := fixture.PromptEngine(), make(chan string, 1)
		rt, heralds := newHeralds(t, fixture.StoreOf(engine), rang)
		stub := heralds.Named("ada")
		name, err := dog.Call(t.Context(), stub, (*herald).Arm, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "ada", name)
		require.NoError(t, rt.Shutdown(t.Context()))

		rt, heralds = newHeralds(t, fixture.StoreOf(engine), rang)
		rt.Start()
		require.Equal(t, "ada "+stub.ID().String(), <-rang, "an alarm after a restart")
		time.Sleep(time.Hour) // it is evicted
		byID, err := heralds.Parse(stub.ID().String())
		require.NoError(t, err)
		name, err = dog.Call(t.Context(), byID, (*herald).Arm, time.Hour)
		require.NoError(t, err)
		require.Equal(t, "ada", name, "an ID")
	})
}

func newHeralds(t *testing.T, keep dog.Store, rang chan<- string) (*dog.Runtime, *dog.Namespace[herald]) {
	t.Helper()
	rt, err := dog.New(dog.Options{Store: keep})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, rt.Shutdown(context.Background())) })
	heralds, err := dog.RegisterObject(
		rt, "herald", &dog.ObjectOptions[herald]{New: func() *herald { return &herald{rang: rang} }},
	)
	require.NoError(t, err)
	return rt, heralds
}

// goldenID is that of ada in the namespace cell.
const goldenID = "a2521ef3b47133c572afb2082c4a5cd5cdc48a5af516178d883fe2babe48232d"

func TestID_NamespaceWithInvalidUTF8IsRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterObject[fixture.Object](rt, "a\xff", nil)
	var refused *dog.RegistrationError
	require.ErrorAs(t, err, &refused)
	require.ErrorContains(t, err, "UTF-8")
	_, err = dog.New(dog.Options{Migrations: []dog.Migration{{Tag: "v1", Renamed: map[string]string{"a": "b\xff"}}}})
	require.ErrorContains(t, err, "UTF-8")
}
