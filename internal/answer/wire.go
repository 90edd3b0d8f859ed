package answer

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
)

// readResponse returns the response to r with this status and header as
// net/http's client reads it from net/http's server: without fields whose names
// are invalid, and without line breaks in values. It returns an error if the
// client would reject the response. The caller must set the body.
func readResponse(status int, header http.Header, r *http.Request) (*http.Response, error) {
	var wire bytes.Buffer
	// A Buffer accepts every write.
	_, _ = fmt.Fprintf(&wire, "HTTP/1.1 %03d %s\r\n", status, statusText(status))
	response, err := http.ReadResponse(written(&wire, header), r) //nolint:bodyclose // the caller sets it
	if err != nil {
		return nil, fmt.Errorf("dog: the object's response cannot be sent: %w", err)
	}
	return response, nil
}

// readFields is readResponse for header fields only.
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

// written returns a reader of wire with the header appended.
func written(wire *bytes.Buffer, header http.Header) *bufio.Reader {
	_ = header.Write(wire)
	wire.WriteString("\r\n")
	return bufio.NewReaderSize(wire, wire.Len())
}

// read returns the header of an informational response as a client gets it.
func (h hint) read() (http.Header, error) {
	header := h.header.Clone()
	header.Del("Content-Length")
	header.Del("Transfer-Encoding")
	return readFields(header)
}

// statusText returns the text of a status as net/http's client reports it.
func statusText(status int) string {
	if text := http.StatusText(status); text != "" {
		return text
	}
	return fmt.Sprint("status code ", status)
}

// closes reports whether the Connection fields of a header contain "close".
func closes(header http.Header) bool {
	for _, list := range header["Connection"] {
		for token := range strings.SplitSeq(list, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "close") {
				return true
			}
		}
	}
	return false
}
