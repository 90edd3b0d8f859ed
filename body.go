package dog

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
)

// maxBody bounds the bodies that are read before Receive begins.
const maxBody = 64 << 10

// inboundBody is the body of a request, as Receive gets it. It also carries
// what a handler's copy of the request learns back to the request that was
// copied, since net/http looks there.
type inboundBody struct {
	// fixed
	source *http.Request
	alien  *foreign

	early  []byte          // read before the turn; owned by the reader, like end
	end    error           // what follows early; nil: the rest of the source
	copy   *http.Request   // owned by the event, like upload
	upload *multipart.Form // that the handler has parsed
}

// newInboundBody reads the body if it is short: a client that sends it slowly
// must not keep the turn. The error says that the body ended early. Any other
// is the handler's to see, when it reads.
func newInboundBody(r *http.Request, alien *foreign) (*inboundBody, error) {
	b := &inboundBody{source: r, alien: alien}
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxBody {
		return b, nil
	}
	if _, read := r.Body.(*inboundBody); read { // a gateway's
		return b, nil
	}
	early := make([]byte, r.ContentLength)
	n, err := io.ReadFull(r.Body, early)
	if err == nil && len(r.Trailer) > 0 {
		err = skip(r.Body)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	b.early, b.end = early[:n], cmp.Or(err, io.EOF)
	return b, nil
}

// skip reads to the end of a body, which is where its trailers are.
func skip(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// attach makes the body that of the handler's copy of the request.
func (b *inboundBody) attach(in *http.Request) {
	b.copy = in
	if in.Body != nil && in.Body != http.NoBody {
		in.Body = b
	}
}

// Read reads what was read early, then the rest.
func (b *inboundBody) Read(p []byte) (n int, err error) {
	if len(b.early) > 0 {
		n = copy(p, b.early)
		b.early = b.early[n:]
		return n, nil
	}
	if b.end != nil {
		return 0, b.end
	}
	err = b.alien.call(func() (err error) {
		n, err = b.source.Body.Read(p)
		return err
	})
	if err == io.EOF && b.copy.Trailer == nil {
		b.copy.Trailer = b.source.Trailer // net/http has just made it, when it was not announced
	}
	return n, err
}

// Close closes the source.
func (b *inboundBody) Close() error { return b.alien.call(b.source.Body.Close) }

// keep has the request that was copied know what its handler has parsed.
func (b *inboundBody) keep() {
	in, r := b.copy, b.source
	if in.Form != nil && r.Form == nil {
		r.Form = in.Form
	}
	if in.PostForm != nil && r.PostForm == nil {
		r.PostForm = in.PostForm
	}
	if in.MultipartForm != nil && in.MultipartForm != r.MultipartForm {
		r.MultipartForm, b.upload = in.MultipartForm, in.MultipartForm
	}
	if in.Pattern != r.Pattern {
		r.Pattern = in.Pattern
	}
}

// rest returns a request with what the handler of the copy has parsed and left
// unread, for another handler.
func (b *inboundBody) rest() *http.Request {
	r := b.source.WithContext(b.source.Context())
	b.attach(r)
	return r
}

// clean removes the temporary files of an upload that the handler has parsed,
// which net/http does for requests that it has made itself.
func (b *inboundBody) clean(log *slog.Logger) {
	if b.upload == nil {
		return
	}
	if err := b.upload.RemoveAll(); err != nil {
		log.Warn("cannot remove the temporary files of an upload", "error", err)
	}
}
