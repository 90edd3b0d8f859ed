package answer

import (
	"cmp"
	"errors"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
)

// maxBody is the size of the largest body that is read before Receive begins.
const maxBody = 64 << 10

// Inbound is the body of a request as Receive gets it. It also copies the
// results of parsing from a handler's copy of the request back to the original
// request, where net/http looks for them.
type Inbound struct {
	// fixed
	source *http.Request
	guard  *Guard

	early  []byte          // read before the turn; owned by the reader, like end
	end    error           // follows early; nil: the rest of the source
	copy   *http.Request   // owned by the event, like upload
	upload *multipart.Form // parsed by the handler
}

// NewInbound reads the body in advance if it is short, because a client
// that sends it slowly must not keep the turn. It returns an error if the body
// ended early. The handler gets any other error when it reads.
func NewInbound(r *http.Request, guard *Guard) (*Inbound, error) {
	b := &Inbound{source: r, guard: guard}
	if r.Body == nil || r.ContentLength <= 0 || r.ContentLength > maxBody {
		return b, nil
	}
	if _, read := r.Body.(inboundBody); read { // a gateway's
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

// skip reads to the end of a body, where its trailers are.
func skip(body io.Reader) error {
	_, err := io.Copy(io.Discard, body)
	return err
}

// Attach makes b the body of the handler's copy of the request.
func (b *Inbound) Attach(in *http.Request) {
	b.copy = in
	if in.Body != nil && in.Body != http.NoBody {
		in.Body = inboundBody{b}
	}
}

// inboundBody is the [io.ReadCloser] of an Inbound.
type inboundBody struct{ *Inbound }

// Read returns the data that was read in advance, then the rest.
func (b inboundBody) Read(p []byte) (n int, err error) {
	if len(b.early) > 0 {
		n = copy(p, b.early)
		b.early = b.early[n:]
		return n, nil
	}
	if b.end != nil {
		return 0, b.end
	}
	err = b.guard.Call(func() (err error) {
		n, err = b.source.Body.Read(p)
		return err
	})
	if err == io.EOF && b.copy.Trailer == nil {
		b.copy.Trailer = b.source.Trailer // just created by net/http if it was not announced
	}
	return n, err
}

// Close closes the source.
func (b inboundBody) Close() error { return b.guard.Call(b.source.Body.Close) }

// Keep copies the results of the handler's parsing to the original request.
func (b *Inbound) Keep() {
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

// Rest returns a request for another handler, with what the handler of the copy
// has parsed and with the unread rest of the body.
func (b *Inbound) Rest() *http.Request {
	r := b.source.WithContext(b.source.Context())
	b.Attach(r)
	return r
}

// Clean removes the temporary files of an upload that the handler has parsed.
// net/http does that only for requests that it has created itself.
func (b *Inbound) Clean(log *slog.Logger) {
	if b.upload == nil {
		return
	}
	if err := b.upload.RemoveAll(); err != nil {
		log.Warn("cannot remove the temporary files of an upload", "error", err)
	}
}
