package answer

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// head is the beginning of a response, with net/http's rules for what may
// follow it. The zero head is that of a response that has not begun.
type head struct {
	status  int         // 0: not set yet
	header  http.Header // a copy from when the status was set
	length  int64       // announced by Content-Length; -1: not announced
	written int64       // bytes of the body that were written, including refused ones

	trailers []string // keys of the trailers that the header announces
	trails   bool     // the header mentions trailers
}

// checkStatus panics for the statuses that net/http panics for.
func checkStatus(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("dog: invalid WriteHeader code %d", status))
	}
}

// informs reports whether a status is informational, so that another one
// follows.
func informs(status int) bool {
	return status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
}

// set begins the response. It copies the header.
func (h *head) set(status int, header http.Header) {
	h.status, h.header, h.length = status, header.Clone(), -1
	if h.header == nil {
		h.header = make(http.Header)
	}
	if length := h.header.Get("Content-Length"); length != "" {
		if n, err := strconv.ParseInt(length, 10, 64); err == nil && n >= 0 {
			h.length = n
		}
	}
	for key := range h.header {
		h.trails = h.trails || strings.HasPrefix(key, http.TrailerPrefix)
	}
	for _, list := range h.header["Trailer"] {
		h.trails = true
		for name := range strings.SplitSeq(list, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "" && mayTrail(name) {
				h.trailers = append(h.trailers, name)
			}
		}
	}
}

// mayTrail reports whether a field may be a trailer. net/http does not send
// other trailers that the header announces.
func mayTrail(name string) bool {
	switch name {
	case "Authorization", "Cache-Control", "Connection", "Content-Encoding", "Content-Length", "Content-Range",
		"Content-Type", "Expect", "Host", "Keep-Alive", "Max-Forwards", "Pragma", "Proxy-Authenticate",
		"Proxy-Authorization", "Proxy-Connection", "Range", "Realm", "Te", "Trailer", "Transfer-Encoding",
		"Www-Authenticate":
		return false
	}
	return !strings.HasPrefix(name, "If-")
}

// take returns an error if n further bytes of the body may not be written.
func (h *head) take(n int) error {
	if n == 0 {
		return nil
	}
	if !h.hasBody() {
		return http.ErrBodyNotAllowed
	}
	h.written += int64(n)
	if h.length >= 0 && h.written > h.length {
		return http.ErrContentLength
	}
	return nil
}

// hasBody reports whether a response with this status has a body.
func (h *head) hasBody() bool {
	return h.status >= 200 && h.status != http.StatusNoContent && h.status != http.StatusNotModified
}

// short reports whether the response to a request with this method is shorter
// than the length that it announced.
func (h *head) short(method string) bool {
	return method != http.MethodHead && h.length >= 0 && h.hasBody() && h.written != h.length
}

// maxSniff is how much of a body net/http examines to complete the header.
const maxSniff = 2048

// complete sets the fields of the header that net/http's server would send in
// response to r: the length, if the response is short and over; the type
// detected from body, which is its beginning; and the transfer encoding and
// connection fields. It reports whether the response is sent in chunks, which
// trailers may follow.
func (h *head) complete(r *http.Request, body []byte, over bool) (chunked bool) {
	header := h.header
	encoding := header.Get("Transfer-Encoding")
	last := r.Close || closes(r.Header) // on its connection
	head := r.Method == http.MethodHead
	switch {
	case !h.hasBody():
		header.Del("Content-Length")
		if h.status == http.StatusNotModified {
			header.Del("Content-Type")
		}
	default:
		if _, typed := header["Content-Type"]; !typed && encoding == "" && header.Get("Content-Encoding") == "" &&
			len(body) > 0 {
			header.Set("Content-Type", http.DetectContentType(body))
		}
		_, declared := header["Content-Length"]
		known := h.length >= 0 && (encoding == "" || encoding == "identity")
		if !known {
			header.Del("Content-Length")
		}
		if over && !h.trails && encoding == "" && !declared && h.written <= maxSniff && (!head || h.written > 0) {
			header.Set("Content-Length", strconv.FormatInt(h.written, 10))
			known = true
		}
		chunked = !head && !known && encoding != "identity"
		last = last || !head && !known && !chunked
	}
	if !chunked || encoding == "chunked" {
		header.Del("Transfer-Encoding")
	}
	if chunked {
		header.Add("Transfer-Encoding", "chunked") // in addition to an encoding that no client knows
	}
	if last && !closes(header) {
		header.Set("Connection", "close")
	}
	return chunked
}

// trailerOf returns the trailers that a handler has set in its header: the keys
// that the sent header announces, and the marked keys, with the mark removed if
// bare is set. It returns nil if there are none.
func (h *head) trailerOf(header http.Header, bare bool) http.Header {
	var trailer http.Header
	keep := func(key string, values []string) {
		if trailer == nil {
			trailer = make(http.Header)
		}
		trailer[key] = values
	}
	for _, key := range h.trailers {
		if values, ok := header[key]; ok {
			keep(key, values)
		}
	}
	for key, values := range header {
		if name, marked := strings.CutPrefix(key, http.TrailerPrefix); marked && bare {
			keep(name, values)
		} else if marked {
			keep(key, values)
		}
	}
	return trailer
}

func replaceHeader(to, from http.Header) {
	clear(to)
	maps.Copy(to, from)
}
