package streams_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

// topic is an object whose history is a stream.
type topic struct{ dog.Object }

// Append adds messages to the stream.
func (t *topic) Append(_ context.Context, messages []any) error {
	for _, m := range messages {
		if err := t.Broadcast(m); err != nil {
			return err
		}
	}
	return nil
}

// server serves streams. The library reads them. The server itself has just as
// much of the rest of the protocol as the suite needs to write what it reads:
// it creates and deletes streams, and appends to them.
type server struct {
	topics *dog.Namespace[topic]

	mu    sync.Mutex
	types map[string]string // the content types of the streams, by path; guarded by mu
}

// newServer returns the URL of a server.
func newServer(t *testing.T) string {
	t.Helper()
	rt, err := dog.New(dog.Options{})
	require.NoError(t, err)
	s := &server{types: make(map[string]string)}
	s.topics, err = dog.RegisterObject(rt, "topic", &dog.ObjectOptions[topic]{
		History: dog.HistoryOptions{Count: 1 << 20, Bytes: 64 << 20, Age: time.Hour},
	})
	require.NoError(t, err)
	web := httptest.NewServer(s)
	t.Cleanup(func() {
		require.NoError(t, rt.Shutdown(context.Background()))
		web.Close()
	})
	return web.URL
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	stub := s.topics.Named(r.URL.Path)
	s.mu.Lock()
	stored, found := s.types[r.URL.Path]
	s.mu.Unlock()
	given, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.Method == http.MethodPut:
		s.create(w, r, stub, stored, given)
	case !found:
		http.NotFound(w, r)
	case r.Method == http.MethodPost && err != nil:
		http.Error(w, "no content type", http.StatusBadRequest)
	case r.Method == http.MethodPost && given != stored:
		http.Error(w, "the stream has another content type", http.StatusConflict)
	case r.Method == http.MethodPost:
		s.append(w, r, stub, stored, http.StatusNoContent)
	case stored == "application/json":
		stub.History().ServeHTTP(w, r)
	default:
		a := &adapter{ResponseWriter: w, contentType: stored}
		stub.History().ServeHTTP(a, r)
		a.end()
	}
}

func (s *server) create(w http.ResponseWriter, r *http.Request, stub dog.Stub[topic], stored, given string) {
	if given == "" {
		given = "application/octet-stream"
	}
	w.Header().Set("Content-Type", given)
	switch stored {
	case "":
		s.mu.Lock()
		s.types[r.URL.Path] = given
		s.mu.Unlock()
		w.Header().Set("Location", "http://"+r.Host+r.URL.Path)
		s.append(w, r, stub, given, http.StatusCreated)
	case given:
		s.position(w, stub, http.StatusOK)
	default:
		http.Error(w, "the stream has another content type", http.StatusConflict)
	}
}

func (s *server) position(w http.ResponseWriter, stub dog.Stub[topic], status int) {
	position, err := stub.History().Position()
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	w.Header().Set("Stream-Next-Offset", string(position))
	w.WriteHeader(status)
}

// append appends the body of a request.
func (s *server) append(w http.ResponseWriter, r *http.Request, stub dog.Stub[topic], contentType string, status int) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var messages []any
	switch {
	case len(body) == 0 && status == http.StatusCreated:
	case len(body) == 0:
		err = io.ErrUnexpectedEOF
	case contentType != "application/json":
		messages = []any{body}
	default:
		messages, err = elements(body)
		if err == nil && len(messages) == 0 && status != http.StatusCreated {
			err = io.ErrUnexpectedEOF
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := dog.CallErr(r.Context(), stub, (*topic).Append, messages); err != nil {
		dog.WriteError(w, err)
		return
	}
	s.position(w, stub, status)
}

// elements returns the elements of a JSON array, or any other JSON text as the
// only one.
func elements(body []byte) (all []any, err error) {
	var parts []json.RawMessage
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("[")) {
		var one json.RawMessage
		err = json.Unmarshal(body, &one)
		parts = append(parts, one)
	} else {
		err = json.Unmarshal(body, &parts)
	}
	for _, p := range parts {
		all = append(all, p)
	}
	return all, err
}

// An adapter makes a response of a history, whose messages are binary, one of a
// stream of another content type than JSON, by replacing each JSON array by the
// bytes of its elements. The suite reads most of what it reads from such
// streams. Statuses, header and all that is not data stay as they are.
type adapter struct {
	http.ResponseWriter
	contentType string
	buffer      bytes.Buffer
}

// Unwrap returns the writer behind it.
func (a *adapter) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *adapter) events() bool { return a.Header().Get("Content-Type") == "text/event-stream" }

func (a *adapter) text() bool { return strings.HasPrefix(a.contentType, "text/") }

// FlushError sends what the history has written.
func (a *adapter) FlushError() error {
	if a.events() && !a.text() {
		a.Header().Set("Stream-SSE-Data-Encoding", "base64")
	}
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// WriteHeader sends the header.
func (a *adapter) WriteHeader(status int) {
	if a.Header().Get("Content-Type") == "application/json" && status != http.StatusGone {
		a.Header().Set("Content-Type", a.contentType)
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write writes events as they become complete, and keeps anything else.
func (a *adapter) Write(b []byte) (int, error) {
	a.buffer.Write(b)
	if !a.events() {
		return len(b), nil
	}
	for {
		event, _, complete := bytes.Cut(a.buffer.Bytes(), []byte("\n\n"))
		if !complete {
			return len(b), nil
		}
		text := string(a.buffer.Next(len(event) + 2)[:len(event)])
		if data, is := strings.CutPrefix(text, "event: data\n"); is {
			array, id, _ := strings.Cut(data, "\nid: ")
			text = "event: data\n" + a.data(strings.ReplaceAll(array, "data:", "")) + "\nid: " + id
		}
		if _, err := io.WriteString(a.ResponseWriter, text+"\n\n"); err != nil {
			return len(b), err
		}
	}
}

// data returns the lines of an event with the messages of an array.
func (a *adapter) data(array string) string {
	var text string
	if content := contents([]byte(array)); a.text() {
		text = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(content))
	} else {
		quoted, err := json.Marshal(content)
		if err != nil {
			panic(err)
		}
		text = strings.Trim(string(quoted), `"`)
	}
	return "data:" + strings.ReplaceAll(text, "\n", "\ndata:")
}

// end writes what has been kept.
func (a *adapter) end() {
	b := a.buffer.Bytes()
	if a.Header().Get("Content-Type") == a.contentType {
		b = contents(b)
	}
	_, _ = a.ResponseWriter.Write(b)
}

// contents returns the bytes of all elements of an array.
func contents(array []byte) (all []byte) {
	var elements []struct {
		Data []byte `json:"$base64"`
	}
	if len(array) > 0 {
		if err := json.Unmarshal(array, &elements); err != nil {
			panic(err)
		}
	}
	for _, e := range elements {
		all = append(all, e.Data...)
	}
	return all
}
