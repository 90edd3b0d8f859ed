package replog

import (
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/store"
)

// Other versions of dog read these bytes.
func TestRecord_HasThisForm(t *testing.T) {
	payload := change{act: actSet, key: []byte("k"), value: []byte("vw")}.appendTo(nil)
	payload = change{act: actDelete, key: []byte("k")}.appendTo(payload)
	payload = change{act: actDeleteRange, key: []byte("a"), value: []byte("b")}.appendTo(payload)
	r := record{kind: kindData, more: true, epoch: 3, group: 258, payload: payload}
	require.Equal(t, "01"+"44"+"01"+"0000000000000003"+"0000000000000102"+"f7368971"+
		"00016b027677"+"01016b"+"0201610162", hex.EncodeToString(r.encode()))
	got, err := decode(r.encode())
	require.NoError(t, err)
	require.Equal(t, r, got)
	require.Equal(t, Mark{Seq: 7, Epoch: 3}, MarkOf(7, r.encode()))
}

func TestRecord_CarriesAnyChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var payload []byte
		var want []change
		some := rapid.SliceOfN(rapid.Byte(), 0, 200)
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			c := change{act: byte(rapid.IntRange(actSet, actDeleteRange).Draw(t, "act")), key: some.Draw(t, "key")}
			if c.act != actDelete {
				c.value = some.Draw(t, "value")
			}
			before := len(payload)
			payload = c.appendTo(payload)
			require.LessOrEqual(t, len(payload)-before, c.size())
			want = append(want, c)
		}
		var got []change
		for c, err := range changesIn(payload) {
			require.NoError(t, err)
			got = append(got, c)
		}
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.Equal(t, want[i].act, got[i].act)
			require.Equal(t, string(want[i].key), string(got[i].key))
			require.Equal(t, string(want[i].value), string(got[i].value))
		}
		most := rapid.IntRange(1, 50).Draw(t, "most")
		g := group{payload: payload, number: 1}
		g.encode(2, most)
		var joined []byte
		for i, encoded := range g.records {
			r, err := decode(encoded)
			require.NoError(t, err)
			require.LessOrEqual(t, len(r.payload), most)
			require.Equal(t, i < len(g.records)-1, r.more)
			joined = append(joined, r.payload...)
		}
		require.Equal(t, string(payload), string(joined))
	})
}

// Whatever a log has, a follower applies it, or fails without a panic.
func FuzzDecode(f *testing.F) {
	payload := change{act: actSet, key: []byte("k"), value: []byte("v")}.appendTo(nil)
	f.Add(record{kind: kindData, epoch: 1, group: 1, payload: payload}.encode())
	f.Add(record{kind: kindClaim, epoch: 2, payload: []byte("a")}.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decode(b); err == nil {
			require.Equal(t, b, r.encode())
		}
		s, err := Open(store.NewMemory(), nil)
		require.NoError(t, err)
		for _, err := range changesIn(b) {
			if err != nil {
				require.ErrorIs(t, err, store.ErrCorrupt)
			}
		}
		if err := s.apply(record{kind: kindClaim, epoch: 1, payload: b}.encode()); err != nil {
			t.Fatal(err)
		}
		if err := s.apply(record{kind: kindData, epoch: 1, group: 1, payload: b}.encode()); err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt)
		}
		_ = s.apply(b)
	})
}
