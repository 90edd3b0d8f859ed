package dog

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
)

// readAnswer returns the answer to r with this status and header as net/http's
// client reads what net/http's server writes: without fields whose names are
// none, and without line breaks in values. The error is about what such a
// client refuses. The body is for the caller to set.
func readAnswer(status int, header http.Header, r *http.Request) (*http.Response, error) {
	var wire bytes.Buffer
	_, _ = fmt.Fprintf(&wire, "HTTP/1.1 %03d %s\r\n", status, statusText(status)) // a Buffer takes everything
	answer, err := http.ReadResponse(written(&wire, header), r)                   //nolint:bodyclose // the caller sets it
	if err != nil {
		return nil, fmt.Errorf("dog: the object's answer cannot be sent: %w", err)
	}
	return answer, nil
}

// readFields is readAnswer for fields alone.
func readFields(header http.Header) (http.Header, error) {
	if len(header) == 0 {
		return make(http.Header), nil
	}
	fields, err := textproto.NewReader(written(new(bytes.Buffer), header)).ReadMIMEHeader()
	if err != nil {
		return nil, fmt.Errorf("dog: header fields that cannot be sent: %w", err)
	}
	return http.Header(fields), nil
}

// written returns what is on the wire when the header has been written too.
func written(wire *bytes.Buffer, header http.Header) *bufio.Reader {
	_ = header.Write(wire)
	wire.WriteString("\r\n")
	return bufio.NewReaderSize(wire, wire.Len())
}

// read returns the header of an informational answer as a client gets it.
func (h hint) read() (http.Header, error) {
	header := h.header.Clone()
	header.Del("Content-Length")
	header.Del("Transfer-Encoding")
	return readFields(header)
}

// statusText is the text of a status as net/http's client knows it.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return fmt.Sprint("status code ", status)
}

// hasToken reports whether lists of tokens, such as those of Connection, have
// one.
func hasToken(lists []string, token string) bool {
	for _, list := range lists {
		for t := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
