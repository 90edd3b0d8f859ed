package conn

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/frame"
)

// parsed is what parser.next has returned.
type parsed struct {
	op   byte
	data string
}

// appendMasked appends a client's frame, whose length is written in the
// shortest form.
func appendMasked(b []byte, first byte, payload string, key uint32) []byte {
	start := len(b)
	b = frame.Append(b, first, []byte(payload))
	head := start + frame.HeaderLen(len(payload))
	b[start+1] |= maskBit
	b = append(b, 0, 0, 0, 0)
	copy(b[head+4:], b[head:])
	binary.LittleEndian.PutUint32(b[head:], key)
	for i := range len(payload) {
		b[head+4+i] ^= b[head+i%4]
	}
	return b
}

// deflateLike compresses as a client might at this level of compress/flate.
func deflateLike(t require.TestingT, payload string, level int) string {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, level)
	require.NoError(t, err)
	_, err = w.Write([]byte(payload))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	return strings.TrimSuffix(b.String(), deflateTail)
}

// payloadOf returns n bytes, UTF-8 with runes of all lengths if text, that
// compress badly if not.
func payloadOf(text bool, n int, seed byte) string {
	if text {
		s := strings.Repeat("aé€😀", n/10)
		return s + strings.Repeat("z", n-len(s))
	}
	b := make([]byte, n)
	x := uint32(seed)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// sentStream is a client's stream of legal frames and what it stands for.
type sentStream struct {
	wire []byte
	want []parsed
}

func drawStream(t *rapid.T, limit int) *sentStream {
	s := new(sentStream)
	key := rapid.Uint32()
	control := func() {
		op := rapid.SampledFrom([]byte{0, 0, opPing, opPong}).Draw(t, "control")
		if op == 0 {
			return
		}
		payload := payloadOf(false, rapid.SampledFrom([]int{0, 1, 7, 125}).Draw(t, "control length"), 1)
		s.wire = appendMasked(s.wire, finBit|op, payload, key.Draw(t, "key"))
		if op == opPing {
			s.want = append(s.want, parsed{opPing, payload})
		}
	}
	size := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, limit),
		rapid.SampledFrom([]int{0, 1, 125, 126, 127, 0xFFFF, 0x10000, 0x10001, limit}))
	for range rapid.IntRange(1, 5).Draw(t, "messages") {
		control()
		op := rapid.SampledFrom([]byte{byte(Text), byte(Binary)}).Draw(t, "op")
		data := payloadOf(op == byte(Text), min(size.Draw(t, "size"), limit), rapid.Byte().Draw(t, "seed"))
		first, payload := op, data
		if rapid.Bool().Draw(t, "compressed") {
			level := rapid.IntRange(flate.HuffmanOnly, flate.BestCompression).Draw(t, "level")
			first, payload = op|rsv1Bit, deflateLike(t, data, level)
		}
		for range rapid.IntRange(0, 3).Draw(t, "more fragments") {
			few, any := rapid.IntRange(0, min(len(payload), 3)), rapid.IntRange(0, len(payload))
			n := rapid.OneOf(few, any).Draw(t, "fragment")
			s.wire = appendMasked(s.wire, first, payload[:n], key.Draw(t, "key"))
			first, payload = opContinuation, payload[n:]
			control()
		}
		s.wire = appendMasked(s.wire, finBit|first, payload, key.Draw(t, "key"))
		s.want = append(s.want, parsed{op, data})
	}
	control()
	return s
}

// feeder hands a stream to a parser in pieces, as a connection does.
type feeder struct {
	r       parser
	pieces  []int // sizes, in turns
	atLeast []int // what parser.room is asked for, in turns; 0: it is not asked
	turn    int
}

// feed returns what the parser makes of the stream until all is parsed or an
// error ends it.
func (f *feeder) feed(t require.TestingT, stream []byte) (got []parsed, err error) {
	var data [][]byte
	defer func() {
		for i := range data {
			got[i].data = string(data[i]) // only now: nothing that follows may change it
		}
	}()
	for len(stream) > 0 {
		n := min(f.pieces[f.turn%len(f.pieces)], len(stream))
		atLeast := f.atLeast[f.turn%len(f.atLeast)]
		f.turn++
		var rest []byte
		var room []byte
		if atLeast > 0 {
			room = f.r.room(atLeast)
		}
		if room != nil {
			n = copy(room, stream[:n])
			f.r.took(n)
		} else {
			rest = bytes.Clone(stream[:n])
		}
		stream = stream[n:]
		piece := rest
		for {
			var op byte
			var p []byte
			rest, op, p, err = f.r.next(rest)
			if err != nil {
				return got, err
			}
			if op == 0 {
				require.Empty(t, rest)
				break
			}
			got, data = append(got, parsed{op: op}), append(data, p)
		}
		clear(piece) // the buffer is used for something else
		have := len(f.r.msg)
		require.LessOrEqual(t, cap(f.r.msg), (2*have+minReserve)*3/2, "memory for what has not arrived")
	}
	return got, nil
}

func drawFeeder(t *rapid.T, limit int) *feeder {
	piece := rapid.OneOf(rapid.IntRange(1, 20), rapid.IntRange(1, 2000), rapid.IntRange(1, 100_000))
	return &feeder{
		r:       parser{limit: int64(limit), deflate: true},
		pieces:  rapid.SliceOfN(piece, 1, 20).Draw(t, "pieces"),
		atLeast: rapid.SliceOfN(rapid.SampledFrom([]int{0, 1, 100, smallBuffer, readBuffer}), 1, 7).Draw(t, "room"),
	}
}

// In whatever pieces a stream arrives, by whatever way, its messages and pings
// are the same.
func TestParser_Pieces(t *testing.T) {
	const limit = 70_000
	rapid.Check(t, func(t *rapid.T) {
		s := drawStream(t, limit)
		f := drawFeeder(t, limit)
		got, err := f.feed(t, s.wire)
		require.NoError(t, err)
		require.Len(t, got, len(s.want))
		for i := range got {
			require.Equal(t, s.want[i].op, got[i].op)
			require.True(t, s.want[i].data == got[i].data, "message %d differs", i)
		}
		require.False(t, f.r.inFrame)
		require.Zero(t, f.r.headLen)
		require.Nil(t, f.r.msg)
		require.Nil(t, f.r.control)
	})
}

// One byte over the limit is too much however it is divided, and what came
// before it is not lost.
func TestParser_Limit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.SampledFrom([]int{1, 125, 126, 1000, 0xFFFF, 0x10000, 70_000}).Draw(t, "limit")
		over := limit + 1
		s := drawStream(t, limit)
		data := payloadOf(false, over, 1)
		first := byte(Binary)
		if rapid.Bool().Draw(t, "compressed") {
			data, first = deflateLike(t, data, flate.BestSpeed), first|rsv1Bit
		}
		cut := rapid.IntRange(0, len(data)).Draw(t, "cut")
		s.wire = appendMasked(s.wire, first, data[:cut], 0x01020304)
		s.wire = appendMasked(s.wire, finBit|opContinuation, data[cut:], 0x05060708)
		s.wire = appendMasked(s.wire, finBit|byte(Binary), "not read any more", 0)
		got, err := drawFeeder(t, limit).feed(t, s.wire)
		require.ErrorIs(t, err, ErrTooBig)
		require.Len(t, got, len(s.want))
	})
}

// A peer that announces a long message and sends nothing of it gets no memory
// for it.
func TestParser_HeaderAlone(t *testing.T) {
	for _, first := range []byte{finBit | byte(Binary), byte(Binary), finBit | byte(Binary) | rsv1Bit} {
		for _, length := range []uint64{64 << 10, 1 << 62} {
			header := binary.BigEndian.AppendUint64([]byte{first, maskBit | 127}, length)
			header = append(header, 1, 2, 3, 4)

			r := parser{limit: 1 << 62, deflate: true}
			rest, op, _, err := r.next(header)
			require.NoError(t, err)
			require.Empty(t, rest)
			require.Zero(t, op)
			require.LessOrEqual(t, cap(r.msg), minReserve)
			require.NotEmpty(t, r.room(smallBuffer))
			require.LessOrEqual(t, cap(r.msg), minReserve)

			r = parser{limit: 64<<10 - 1, deflate: true}
			if first&rsv1Bit == 0 || length > 1<<20 { // compressed, it may be a little longer
				_, _, _, err = r.next(header)
				require.ErrorIs(t, err, ErrTooBig)
				require.Zero(t, cap(r.msg))
			}
		}
	}
}

// A control frame between the fragments of a message leaves the rest of the
// message alone, also where that is read directly.
func TestParser_RoomIsForData(t *testing.T) {
	r := parser{limit: 1 << 20}
	require.Nil(t, r.room(1), "no frame has begun")
	_, _, _, err := r.next(appendMasked(nil, finBit|opPing, strings.Repeat("p", 100), 7)[:20])
	require.NoError(t, err)
	require.Nil(t, r.room(1), "the frame is a ping")
	r = parser{limit: 1 << 20}
	_, _, _, err = r.next(appendMasked(nil, finBit|byte(Binary), strings.Repeat("m", 100), 7)[:20])
	require.NoError(t, err)
	require.Nil(t, r.room(87), "only 86 bytes are missing")
	require.Len(t, r.room(86), 86, "what follows the frame is not its own")
}

func TestUnmask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.Uint32().Draw(t, "key")
		b := rapid.SliceOfN(rapid.Byte(), 0, 50).Draw(t, "b")
		want := bytes.Clone(b)
		mask := binary.LittleEndian.AppendUint32(nil, key)
		for i := range want {
			want[i] ^= mask[i%4]
		}
		cut := rapid.IntRange(0, len(b)).Draw(t, "cut")
		key = unmask(b[:cut], key)
		unmask(b[cut:], key)
		require.Equal(t, want, b)
	})
}
