package history

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What Decode accepts is what Encode makes, or says the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(Entry{Op: 1, At: -5, Key: "k", Payload: []byte("p")}.Encode())
	f.Add(Entry{Op: 2, To: Audience{Only: "a", Except: "b", ExceptSession: "c"}}.Encode())
	f.Add([]byte{1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'x'})
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := Decode(7, data)
		if err != nil {
			require.ErrorIs(t, err, errEntry)
			return
		}
		again, err := Decode(7, e.Encode())
		require.NoError(t, err)
		require.Equal(t, e, again)
	})
}
