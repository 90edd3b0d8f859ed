package outbox_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/outbox"
)

func TestQueue_ShowsWhatItHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put("ab", outbox.Key("k"), outbox.Replace("r"), outbox.TTL(time.Hour))
		d := s.dial()
		d.one()
		time.Sleep(time.Minute)
		require.Len(t, d.frames(), 2, "sent again")
		s.with(func(_ context.Context, d *Device) error {
			status, err := d.Commands.Status()
			require.NoError(t, err)
			require.Equal(t, outbox.Status{Last: 1, Waiting: 1, Bytes: 4, KeptBytes: 0}, status)
			for c, err := range d.Commands.Waiting() {
				require.NoError(t, err)
				require.True(t, c.Expires.Equal(time.Now().Add(59*time.Minute)), c.Expires)
				c.Expires = time.Time{}
				require.Equal(t, outbox.Command{
					Number: 1, Body: dog.Message{Type: dog.Text, Data: []byte("ab")}, Key: "k", Replace: "r",
					Expires: time.Time{}, Deliveries: 3,
				}, c)
			}
			o, _, err := d.Commands.Outcome("k")
			require.Equal(t, []outbox.State{outbox.Waiting}, []outbox.State{o.State})
			return err
		})
	})
}

func TestClient_GetsTheCommandWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, setup{})
		s.put(map[string]int{"n": 7}, outbox.TTL(time.Hour))
		s.put([]byte("raw"))
		var got []client.Command
		s.run(nil, client.Options{}, func(_ context.Context, c client.Command) (any, error) {
			got = append(got, c)
			return nil, nil
		})
		require.Len(t, got, 2)
		var body struct{ N int }
		require.NoError(t, got[0].Decode(&body))
		require.Equal(t, 7, body.N)
		require.Equal(t, client.Text, got[0].Type)
		require.True(t, got[0].Expires.Equal(time.Now().Add(time.Hour)))
		require.Equal(t, client.Binary, got[1].Type)
	})
}
