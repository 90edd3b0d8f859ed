package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
)

// An Array is a JSON array of messages that grows. The zero Array is empty.
type Array struct{ text []byte }

// Add adds a message: a JSON text as it stands, other text as a JSON string,
// and a binary message as {"$base64":"..."}.
func (a *Array) Add(text bool, payload []byte) {
	if len(a.text) == 0 {
		a.text = append(a.text, '[')
	} else {
		a.text = append(a.text, ",\n"...)
	}
	switch {
	case !text:
		a.text = append(a.text, `{"$base64":"`...)
		a.text = base64.StdEncoding.AppendEncode(a.text, payload)
		a.text = append(a.text, `"}`...)
	case json.Valid(payload):
		a.text = append(a.text, payload...)
	default:
		quoted, err := json.Marshal(string(payload))
		if err != nil {
			panic(err) // every string has a JSON form
		}
		a.text = append(a.text, quoted...)
	}
}

// Bytes returns the array. It must not be changed afterwards.
func (a *Array) Bytes() []byte {
	if len(a.text) == 0 {
		return []byte("[]")
	}
	return append(a.text, ']')
}

// AppendData appends an event with an array of messages, after which the
// position of the reader is next. It never has more than one event, whatever
// the array holds. Like [AppendControl] it gives the browser next, since the
// connection may break between the two.
func AppendData(b, array []byte, next string) []byte {
	b = append(b, "event: data\n"...)
	for len(array) > 0 {
		line := array
		// JSON has line breaks only where there may be any space, so it does
		// not matter that clients read each of them as LF.
		if end := bytes.IndexAny(array, "\r\n"); end >= 0 {
			line, array = array[:end], array[end+1:]
		} else {
			array = nil
		}
		b = append(b, "data:"...)
		b = append(b, line...)
		b = append(b, '\n')
	}
	return appendID(b, next)
}

// appendID ends an event. A browser returns id when it connects again.
func appendID(b []byte, id string) []byte {
	b = append(b, "id: "...)
	b = append(b, id...)
	return append(b, "\n\n"...)
}

// AppendControl appends the event that follows data: the position of the reader
// is now next.
func AppendControl(b []byte, next, cursor string, upToDate bool) []byte {
	data, err := json.Marshal(struct {
		Next     string `json:"streamNextOffset"`
		Cursor   string `json:"streamCursor"`
		UpToDate bool   `json:"upToDate,omitempty"`
	}{next, cursor, upToDate})
	if err != nil {
		panic(err) // there is nothing that cannot be encoded
	}
	b = append(b, "event: control\ndata:"...)
	b = append(b, data...)
	return appendID(append(b, '\n'), next)
}

// AppendRetry appends how long a browser waits before it connects again.
func AppendRetry(b []byte, wait time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, wait.Milliseconds(), 10)
	return append(b, "\n\n"...)
}

// Comment is an event that clients ignore.
const Comment = ":\n\n"
