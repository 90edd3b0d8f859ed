package api_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

func FuzzIDUnmarshalText(f *testing.F) {
	for _, seed := range []string{
		"", "0", strings.Repeat("0", 63), strings.Repeat("0", 64), strings.Repeat("0", 65), strings.Repeat("aF", 32),
		strings.Repeat("0", 63) + "g", strings.Repeat("ä", 32), "0x" + strings.Repeat("0", 62),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		before := dog.ID{1, 2, 3}
		id := before
		err := id.UnmarshalText(text)
		digits, invalid := hex.DecodeString(string(text))
		if invalid != nil || len(digits) != len(id) {
			require.Error(t, err)
			require.Equal(t, before, id, "left alone")
			return
		}
		require.NoError(t, err)
		require.Equal(t, digits, id[:])
		require.Equal(t, strings.ToLower(string(text)), id.String())

		encoded, err := json.Marshal(id)
		require.NoError(t, err)
		var again dog.ID
		require.NoError(t, json.Unmarshal(encoded, &again))
		require.Equal(t, id, again)
	})
}

func FuzzUID(f *testing.F) {
	for _, seed := range []string{
		"", "ada", " ", "a\nb", "\x00", "\x7f", "\u0085", "\u200b", "\ufffd", "\xff", "\xed\xa0\x80", "😀",
		strings.Repeat("x", 1024), strings.Repeat("x", 1025),
	} {
		f.Add(seed)
	}
	rt, err := dog.New(dog.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, rt.Shutdown(context.Background())) })
	replicas, err := dog.RegisterReplica[good](rt, "replica", nil)
	require.NoError(f, err)
	groups, err := dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[plainGroup]{Limit: 1})
	require.NoError(f, err)
	group := groups.Named("main")
	f.Fuzz(func(t *testing.T, uid string) {
		stub, err := group.Identify(t.Context(), uid)
		valid := uid != "" && len(uid) <= 1024 && utf8.ValidString(uid) && !strings.ContainsFunc(uid, unicode.IsControl)
		if !valid {
			require.ErrorIs(t, err, dog.ErrInvalidName)
			return
		}
		require.NoError(t, err)
		stub.Release()
		for r := range group.Replicas() {
			require.Zero(t, r.Load)
		}
	})
}

func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"", "text", "a\xff", "\x00", `{"a": 1}`, "\u2028", "\xed\xa0\x80"} {
		f.Add([]byte(seed), byte(1))
		f.Add([]byte(seed), byte(2))
		f.Add([]byte(seed), byte(0))
		f.Add([]byte(seed), byte(255))
	}
	f.Fuzz(func(t *testing.T, data []byte, typ byte) {
		m, err := dog.Encode(data)
		require.NoError(t, err)
		require.Equal(t, dog.Message{Type: dog.Binary, Data: data}, m)

		for _, v := range []any{string(data), json.RawMessage(data)} {
			m, err = dog.Encode(v)
			if !utf8.Valid(data) {
				fixture.RequireUsage(t, err, "not UTF-8")
				continue
			}
			require.NoError(t, err)
			require.Equal(t, dog.Text, m.Type)
			require.Equal(t, string(data), m.String())
		}

		m, err = dog.Encode(struct{ Data string }{string(data)})
		require.NoError(t, err)
		require.Equal(t, dog.Text, m.Type)
		require.True(t, utf8.Valid(m.Data))
		require.NoError(t, m.Decode(new(struct{ Data string })))

		m, err = dog.Encode(dog.Message{Type: dog.MessageType(typ), Data: data})
		switch {
		case typ > byte(dog.Binary):
			require.Error(t, err)
		case typ != byte(dog.Binary) && !utf8.Valid(data):
			fixture.RequireUsage(t, err, "not UTF-8")
		default:
			require.NoError(t, err)
			require.Equal(t, data, m.Data)
			require.Equal(t, max(dog.MessageType(typ), dog.Text), m.Type)
			again, err := dog.Encode(m)
			require.NoError(t, err)
			require.Equal(t, m, again)
		}
	})
}
