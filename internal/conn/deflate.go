package conn

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math"
	"sync"

	"github.com/godurable/dog/internal/frame"
)

// Compression is permessage-deflate (RFC 7692) without context takeover. No
// message refers to an earlier one, so one compressed frame serves all
// connections, and an idle connection keeps no window.

// minDeflate is the minimum length of a message to be compressed. A shorter
// message hardly shrinks without the context of earlier ones.
const minDeflate = 512

// deflateTail ends a flushed deflate stream. RFC 7692 omits it from messages.
const deflateTail = "\x00\x00\xff\xff"

// deflateEnd must follow a message when it is read: the tail, and an empty
// final block that ends the stream.
const deflateEnd = deflateTail + "\x01\x00\x00\xff\xff"

// maxStreams is the maximum number of deflate streams in one message (RFC 7692,
// section 7.2.3.4). A stream takes longer to begin than to send.
const maxStreams = 16

// errDeflate means that a compressed message is malformed.
var errDeflate = errors.New("malformed compressed message")

// A writer uses over a megabyte. The pool limits their number to the concurrent
// compressions.
var deflaters = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestSpeed)
	if err != nil {
		panic(err) // the level is valid
	}
	return w
}}

type inflater struct {
	flate io.ReadCloser
	src   inflateSource
}

// inflateSource is a message followed by deflateEnd. It implements
// io.ByteReader so that flate does not allocate a buffer.
type inflateSource struct {
	message bytes.Reader
	end     bytes.Reader
}

func (s *inflateSource) Read(p []byte) (int, error) {
	if s.message.Len() > 0 {
		return s.message.Read(p)
	}
	return s.end.Read(p)
}

func (s *inflateSource) ReadByte() (byte, error) {
	if s.message.Len() > 0 {
		return s.message.ReadByte()
	}
	return s.end.ReadByte()
}

var inflaters = sync.Pool{New: func() any { return &inflater{flate: flate.NewReader(nil)} }}

// deflate returns a frame with the message compressed. It returns nil if that
// does not make it shorter.
func deflate(wire []byte) []byte {
	payload := frame.Payload(wire)
	if len(payload) < minDeflate {
		return nil
	}
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	if _, err := w.Write(payload); err != nil {
		return nil // cannot happen with a Buffer; plain is always correct
	}
	if w.Flush() != nil {
		return nil
	}
	short := bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
	if len(short) >= len(payload) {
		return nil
	}
	return frame.Append(nil, wire[0]|rsv1Bit, short)
}

// inflate returns the decompressed message of b. The error is ErrTooBig if the
// message has more than limit bytes, or errDeflate.
func inflate(b []byte, limit int64) ([]byte, error) {
	in := inflaters.Get().(*inflater)
	defer func() {
		in.src.message.Reset(nil)
		inflaters.Put(in)
	}()
	in.src.message.Reset(b)
	in.src.end.Reset([]byte(deflateEnd))
	limit = min(limit, math.MaxInt64-1)
	var message bytes.Buffer
	for streams := 0; streams == 0 || in.src.message.Len() > 0; streams++ {
		if streams == maxStreams {
			return nil, errDeflate
		}
		if err := in.flate.(flate.Resetter).Reset(&in.src, nil); err != nil {
			return nil, errDeflate
		}
		if _, err := message.ReadFrom(io.LimitReader(in.flate, limit+1-int64(message.Len()))); err != nil {
			return nil, errDeflate
		}
		if int64(message.Len()) > limit {
			return nil, ErrTooBig
		}
	}
	return message.Bytes(), nil
}

// maxDeflated returns the maximum length of the compressed form of an n-byte
// message. Incompressible data grows by five bytes per block, and zlib's
// shortest blocks have 127 bytes.
func maxDeflated(n int64) int64 { return n + min(n/16+64, math.MaxInt64-n) }
