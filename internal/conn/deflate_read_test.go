package conn_test

import (
	"bytes"
	"compress/flate"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/conn"
)

// What RFC 7692 gives as examples, section 7.2.3.
func TestDeflate_ExamplesOfTheRFC(t *testing.T) {
	for name, tc := range map[string]struct {
		wire, want string
	}{
		"one block":     {"\xf2\x48\xcd\xc9\xc9\x07\x00", "Hello"},
		"stored":        {"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", "Hello"},
		"a final block": {"\xf3\x48\xcd\xc9\xc9\x07\x00\x00", "Hello"},
		"two blocks":    {"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", "Hello"},
		"empty message": {"\x00", ""},
	} {
		t.Run(name, func(t *testing.T) {
			whole := masked(fin|rsv1|1, tc.wire)
			for cut := range tc.wire {
				stream := append(masked(rsv1|1, tc.wire[:cut]), masked(fin|opPing, "")...)
				stream = append(append(stream, masked(fin|opContinuation, tc.wire[cut:])...), whole...)
				msgs, end, _ := play(t, stream, 1+cut, offer("permessage-deflate"), compressing)
				require.Equal(t, 1006, end.Code, "%v", end)
				require.Equal(t, []string{tc.want, tc.want}, msgs)
			}
		})
	}
}

// Whatever a client compresses, at whatever level and in whatever fragments,
// arrives; between plain messages, too.
func TestDeflate_Reads(t *testing.T) {
	const limit = 20_000
	rapid.Check(t, func(rt *rapid.T) {
		var stream []byte
		var want []string
		for range rapid.IntRange(1, 4).Draw(rt, "messages") {
			n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, limit), rapid.Just(limit)).Draw(rt, "n")
			m := noise(n)
			if rapid.Bool().Draw(rt, "shrinks") {
				m = strings.Repeat(m[:min(n, 10)], limit/10)[:n]
			}
			want = append(want, m)
			head := byte(2)
			if rapid.Bool().Draw(rt, "compressed") {
				head, m = rsv1|2, deflated(
					rt, m, rapid.IntRange(flate.HuffmanOnly, flate.BestCompression).Draw(rt, "level"),
				)
			}
			for range rapid.IntRange(0, 2).Draw(rt, "more fragments") {
				cut := rapid.IntRange(0, len(m)).Draw(rt, "cut")
				stream, m = append(stream, masked(head, m[:cut])...), m[cut:]
				head = 0
			}
			stream = append(stream, masked(fin|head, m)...)
		}
		piece := rapid.IntRange(1, 3000).Draw(rt, "piece")
		msgs, end, _ := play(
			t, stream, piece, offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: limit},
		)
		require.Equal(rt, 1006, end.Code, "%v", end)
		require.True(rt, len(want) == len(msgs))
		for i := range want {
			require.True(rt, want[i] == msgs[i], "message %d", i)
		}
	})
}

// The largest limit there is means that there is none.
func TestDeflate_WithoutLimit(t *testing.T) {
	long := strings.Repeat("long ", 50_000)
	stream := append(masked(fin|1, long), masked(fin|rsv1|1, deflated(t, long, flate.BestSpeed))...)
	o := &conn.Options{Compression: true, MaxMessage: math.MaxInt64}
	msgs, end, _ := play(t, stream, len(stream), offer("permessage-deflate"), o)
	require.Equal(t, 1006, end.Code, "%v", end)
	require.True(t, slices.Equal([]string{long, long}, msgs))
}

func TestDeflate_Violations(t *testing.T) {
	hello := deflated(t, "hello", flate.BestSpeed)
	long := deflated(t, noise(2000), flate.BestSpeed)
	for name, tc := range map[string]struct {
		sent  []byte
		code  int
		cause error
	}{
		"nonsense":           {masked(fin|rsv1|2, "\xff\xff\xff"), 1002, conn.ErrProtocol},
		"cut short":          {masked(fin|rsv1|2, long[:len(long)/2]), 1002, conn.ErrProtocol},
		"nothing at all":     {masked(fin|rsv1|2, ""), 1002, conn.ErrProtocol},
		"more after the end": {masked(fin|rsv1|2, "\x01\x00\x00\xff\xff"+"\xff\xff\xff"), 1002, conn.ErrProtocol},
		"context takeover": {
			append(masked(fin|rsv1|1, hello), masked(fin|rsv1|1, "\xf2\x00\x11\x00\x00")...), 1002, conn.ErrProtocol,
		},
		"text not UTF-8": {masked(fin|rsv1|1, deflated(t, "\xff", flate.BestSpeed)), 1007, conn.ErrInvalidUTF8},
		"over the limit": {
			masked(fin|rsv1|2, deflated(t, strings.Repeat("x", 2001), flate.BestSpeed)), 1009, conn.ErrTooBig,
		},
		"longer than it was": {masked(fin|rsv1|2, strings.Repeat("\x00\x00\x00\xff\xff", 1000)), 1009, conn.ErrTooBig},
		"compressed ping":    {masked(fin|rsv1|opPing, hello), 1002, conn.ErrProtocol},
		"compressed pong":    {masked(fin|rsv1|opPong, hello), 1002, conn.ErrProtocol},
		"compressed close":   {masked(fin|rsv1|opClose, ""), 1002, conn.ErrProtocol},
		"bit on continuation": {
			append(masked(rsv1|2, hello[:2]), masked(fin|rsv1|opContinuation, hello[2:])...), 1002, conn.ErrProtocol,
		},
		"the same, plain": {
			append(masked(2, "hel"), masked(fin|rsv1|opContinuation, "lo")...), 1002, conn.ErrProtocol,
		},
		"another bit": {masked(fin|rsv1|0x20|1, hello), 1002, conn.ErrProtocol},
		"two plain fragments": {
			append(masked(2, strings.Repeat("x", 1500)), masked(fin|opContinuation, strings.Repeat("x", 501))...),
			1009, conn.ErrTooBig,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream := append(masked(fin|rsv1|1, hello), tc.sent...)
			stream = append(stream, masked(fin|1, "after")...)
			msgs, end, nc := play(
				t, stream, len(stream), offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: 2000},
			)
			require.Equal(t, tc.code, end.Code, "%v", end)
			require.ErrorIs(t, end, tc.cause)
			require.Equal(t, "hello", msgs[0])
			require.NotContains(t, msgs, "after")
			require.True(t, bytes.HasSuffix(nc.out.Bytes(), []byte(closeFrame(tc.code, end.Reason).payload)))
		})
	}
}

// A message that is enormous once it is unpacked costs no more than the limit.
func TestDeflate_Bomb(t *testing.T) {
	const gigabyte = 1 << 30
	// A flushed stream ends at a byte: the same again is a stream as well.
	mega := deflated(t, strings.Repeat("\x00", 1<<20), flate.BestSpeed) + "\x00\x00\xff\xff"
	bomb := masked(fin|rsv1|2, strings.Repeat(mega, gigabyte>>20))
	small := masked(fin|rsv1|2, strings.Repeat(mega, (60<<10)/len(mega)))
	for _, tc := range []struct {
		bomb  []byte
		limit int64
	}{
		{bomb, 64 << 10}, // too long as it is
		{small, 64 << 10},
		{bomb, int64(len(bomb))},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, end, _ := play(
			t, tc.bomb, len(tc.bomb), offer("permessage-deflate"),
			&conn.Options{Compression: true, MaxMessage: tc.limit},
		)
		runtime.ReadMemStats(&after)
		require.Equal(t, 1009, end.Code, "%v", end)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20*tc.limit), "bytes allocated")
	}
}

func TestDeflate_StatsCountBytesOnTheWire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := deflatePipe(t, compressing)
		read := startReading(c)
		long := strings.Repeat("long ", 1000)
		in := masked(fin|rsv1|1, deflated(t, long, flate.BestSpeed))
		p.sendRaw(in)
		f := conn.NewFrame(conn.Text, []byte(long))
		require.NoError(t, c.Send(f, ""))
		synctest.Wait()
		require.Equal(t, conn.Stats{QueuedBytes: f.Len(), MessagesIn: 1, BytesIn: uint64(len(in))}, c.Stats())
		out, err := p.readAny()
		require.NoError(t, err)
		synctest.Wait()
		header := 2
		if len(out.payload) > 125 {
			header = 4
		}
		require.Equal(
			t,
			conn.Stats{
				MessagesIn: 1, MessagesOut: 1, BytesIn: uint64(len(in)), BytesOut: uint64(header + len(out.payload)),
			},
			c.Stats(),
		)
		p.Close()
		read.end(t)
		require.Equal(t, []string{long}, read.msgs)
	})
}

// A client with little memory sends many short blocks: zlib grows what does not
// shrink by up to 4 %.
func TestDeflate_ShortBlocks(t *testing.T) {
	const limit = 20_000
	message := noise(limit)
	var b []byte
	for rest := message; rest != ""; {
		n := min(len(rest), 127)
		b = append(b, 0, byte(n), 0, ^byte(n), 0xff) // a stored block
		b = append(b, rest[:n]...)
		rest = rest[n:]
	}
	stream := masked(fin|rsv1|2, string(append(b, 0)))
	msgs, end, _ := play(
		t, stream, len(stream), offer("permessage-deflate"), &conn.Options{Compression: true, MaxMessage: limit},
	)
	require.Equal(t, 1006, end.Code, "%v", end)
	require.True(t, len(msgs) == 1 && message == msgs[0])
}
