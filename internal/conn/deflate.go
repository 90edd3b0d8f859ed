package conn

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"math"
	"sync"
)

// Compression is permessage-deflate (RFC 7692) without context takeover: no
// message refers to an earlier one, so one compressed frame serves every
// connection, and an idle connection keeps no window.

// minDeflate is the length from which a message is compressed. A shorter one
// hardly shrinks without what came before it.
const minDeflate = 512

// deflateTail ends a flushed stream of deflate; RFC 7692 leaves it out.
const deflateTail = "\x00\x00\xff\xff"

// deflateEnd is what a reader needs after a message: the tail, and an empty
// last block, so that the stream ends.
const deflateEnd = deflateTail + "\x01\x00\x00\xff\xff"

// maxStreams bounds the streams that one message may consist of (RFC 7692,
// section 7.2.3.4): to begin one takes longer than to send it.
const maxStreams = 16

// errDeflate means that a compressed message is not one.
var errDeflate = errors.New("malformed compressed message")

// A writer takes over a megabyte: there are as many as compress at a time.
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

// inflateSource is a message followed by deflateEnd. flate reads it byte by
// byte without a buffer of its own.
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

// deflate compresses the frame's message if that makes it shorter.
func (f *Frame) deflate() {
	payload := f.payload()
	if len(payload) < minDeflate {
		return
	}
	w := deflaters.Get().(*flate.Writer)
	defer deflaters.Put(w)
	var b bytes.Buffer
	w.Reset(&b)
	if _, err := w.Write(payload); err != nil {
		return // a Buffer takes everything; plain is always right
	}
	if w.Flush() != nil {
		return
	}
	short := bytes.TrimSuffix(b.Bytes(), []byte(deflateTail))
	if len(short) >= len(payload) {
		return
	}
	f.deflated = appendFrame(make([]byte, 0, headerLen(len(short))+len(short)), f.wire[0]|rsv1Bit, short)
}

// inflate returns the message that was compressed to b, ErrTooBig if it has
// more than limit bytes, or errDeflate.
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

// maxDeflated bounds the compressed form of a message of n bytes: what does not
// shrink grows by five bytes in every block, and zlib's shortest blocks have
// 127.
func maxDeflated(n int64) int64 { return n + min(n/16+64, math.MaxInt64-n) }
