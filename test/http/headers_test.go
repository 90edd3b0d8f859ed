package http_test

import (
	"fmt"
	"net/http"
)

// headerSames are cases of header fields and trailers that are not sent as they
// were set.
func headerSames() []same {
	all := []same{
		{name: "trailers that may be none", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Trailer", "Www-Authenticate, If-Match, X-Sum, x sum")
			w.WriteHeader(http.StatusOK)
			hello(note, w)
			for _, key := range []string{
				"Www-Authenticate", "If-Match", "X sum", http.TrailerPrefix + "x y", http.TrailerPrefix + "x\r\nz",
			} {
				w.Header()[key] = []string{"7"}
			}
			w.Header()["X-Sum"] = []string{" 7\r\nX-Other: 8 ", "9"}
			w.Header()[http.TrailerPrefix+"x-sum"] = []string{"6\n"}
		}},
		{
			name: "unannounced trailers of a short response",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Some", "header")
				hello(note, w)
				w.Header().Set(http.TrailerPrefix+"X-Late", "8")
			},
		},
		{
			name:   "trailers of a response with a length",
			direct: true,
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "X-Sum")
				w.Header().Set("Content-Length", "5")
				hello(note, w)
				w.Header().Set("X-Sum", "7")
			},
		},
		{
			name: "a trailer that clients refuse",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "Content-Length")
				hello(note, w)
			},
		},
		{
			name: "a trailer with a control character",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Trailer", "X-Sum")
				hello(note, w)
				w.Header().Set("X-Sum", "7\x00")
			},
		},
		{name: "a header that is none", serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
			for _, key := range []string{"", "x y", "x:y", "x\r\ny", "ä", "x\x00"} {
				w.Header()[key] = []string{"lost"}
			}
			w.Header()["x-lower"] = []string{"b"}
			w.Header()["X-Lower"] = []string{"a", ""}
			w.Header()["X-None"] = []string{}
			hello(note, w)
		}},
		{
			name: "a header with line breaks",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header()["Set-Cookie"] = []string{"a=b\r\nX-Other: c", "\n", " \t d\re \r\n"}
				w.Header().Set("Content-Type", "text/plain\r\n\r\n<script>")
				w.Header().Set("Link", "</a.css>\r\nX-Other: d")
				w.WriteHeader(http.StatusEarlyHints)
				hello(note, w)
			},
		},
		{
			name: "a header with a control character",
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Zero", "a\x00b")
				hello(note, w)
			},
		},
		{
			name:   "the end of the connection",
			direct: true,
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Connection", "close")
				hello(note, w)
			},
		},
		{
			name:   "other words about the connection",
			direct: true,
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
				w.Header()["Connection"] = []string{"keep-alive, Close", "x"}
				hello(note, w)
			},
		},
		{
			name: "the end of the connection, requested by the client", direct: true,
			send: func(r *http.Request) { r.Close = true },
			serve: func(note func(...any), w http.ResponseWriter, r *http.Request) {
				note(r.Close, r.Header["Connection"])
				hello(note, w)
			},
		},
		{
			name: "names and values of the request",
			send: func(r *http.Request) { r.Header["x-lower"] = []string{" a\t", "b"} },
			serve: func(note func(...any), w http.ResponseWriter, r *http.Request) {
				note(r.Header["X-Lower"], r.Header["x-lower"]) //nolint:staticcheck // the key as it must not arrive
				hello(note, w)
			},
		},
		{
			name:   "an invalid request trailer",
			method: http.MethodPost,
			body:   text(5),
			send: func(r *http.Request) {
				r.ContentLength, r.Trailer = -1, http.Header{"x y": nil}
			},
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) { hello(note, w) },
		},
		{
			name:   "a request's trailer that states the length",
			method: http.MethodPost,
			body:   text(5),
			send: func(r *http.Request) {
				r.ContentLength, r.Trailer = -1, http.Header{"Content-Length": nil}
			},
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) { hello(note, w) },
		},
		{
			name: "a host with line breaks", direct: true, send: func(r *http.Request) { r.Host = "a\r\nb: c" },
			serve: func(note func(...any), w http.ResponseWriter, r *http.Request) { note(r.Host); hello(note, w) },
		},
		{
			name: "a query with line breaks", send: func(r *http.Request) { r.URL.RawQuery = "a\r\nb: c" },
			serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) { hello(note, w) },
		},
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, encoding := range []string{"identity", "chunked", "gzip"} {
			for _, length := range []string{"", "5"} {
				all = append(all, same{
					name: fmt.Sprint(method, " encoded as ", encoding, " of length ", length), method: method,
					direct: true,
					serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Transfer-Encoding", encoding)
						if length != "" {
							w.Header().Set("Content-Length", length)
						}
						hello(note, w)
					},
				})
			}
		}
		for _, lengths := range [][]string{{"5", "5"}, {"5", "6"}, {"+5"}} {
			all = append(all, same{
				name: fmt.Sprint(method, " of lengths ", lengths), method: method, direct: true,
				serve: func(note func(...any), w http.ResponseWriter, _ *http.Request) {
					w.Header()["Content-Length"] = lengths
					hello(note, w)
				},
			})
		}
	}
	return all
}
