package dog

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
)

// head is the beginning of an answer, with net/http's rules for what may follow
// it. The zero head is that of an answer that has not begun.
type head struct {
	status  int         // 0: none yet
	header  http.Header // as it was when the status was set
	length  int64       // as announced by Content-Length; -1: not announced
	written int64       // bytes of body that were written, refused ones too

	trailers []string // keys of the trailers that the header announces
}

// checkStatus panics where net/http does.
func checkStatus(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("dog: invalid WriteHeader code %d", status))
	}
}

// informs reports whether a status comes before that of the answer.
func informs(status int) bool {
	return status >= 100 && status < 200 && status != http.StatusSwitchingProtocols
}

// set begins the answer. It takes a copy of the header.
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
	for _, list := range h.header["Trailer"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name != "" {
				h.trailers = append(h.trailers, http.CanonicalHeaderKey(name))
			}
		}
	}
}

// take returns why n further bytes of body may not be written.
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

// hasBody reports whether an answer of this status has a body.
func (h *head) hasBody() bool {
	return h.status >= 200 && h.status != http.StatusNoContent && h.status != http.StatusNotModified
}

// short reports whether the answer to a request of this method ended before the
// length that it announced.
func (h *head) short(method string) bool {
	return method != http.MethodHead && h.length >= 0 && h.hasBody() && h.written != h.length
}

// trailerOf returns what a handler set in its header for after the body: keys
// that the header that was sent announces, and marked ones, without the mark if
// they are bare. It is nil when there is nothing.
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
