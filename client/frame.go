package client

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// A hello is the first frame of the server.
type hello struct {
	Version  int       `json:"v"`
	Position string    `json:"pos"`
	Gap      GapReason `json:"gap"`
	In       uint64    `json:"in"`
	Ping     float64   `json:"ping"` // milliseconds
	Max      int       `json:"max"`
}

// maxNumber is the greatest number of a message, which JavaScript has exactly.
const maxNumber = 1<<53 - 1

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errProtocol}, args...)...)
}

// cut returns the parts of a frame. The kind is 0 if the frame is empty.
func cut(data []byte) (kind byte, header string, payload []byte) {
	head, payload, _ := bytes.Cut(data, []byte{'\n'})
	if len(head) == 0 {
		return 0, "", payload
	}
	return head[0], string(head[1:]), payload
}

func parseHello(data []byte) (hello, error) {
	kind, text, _ := cut(data)
	if kind != 'h' {
		return hello{}, malformed("the first frame is %.20q", data)
	}
	var h hello
	if err := json.Unmarshal([]byte(text), &h); err != nil {
		return hello{}, malformed("hello: %w", err)
	}
	switch {
	case h.Version != 1:
		return hello{}, malformed("version %d", h.Version)
	case h.Position != "" && !validPosition(h.Position):
		return hello{}, malformed("the position %.80q", h.Position)
	case h.In > maxNumber:
		return hello{}, malformed("the number %d", h.In)
	}
	return h, nil
}

// validPosition reports whether a text is a position with a place.
func validPosition(p string) bool { return len(p) <= maxPosition && strings.Contains(p, "-") }

// validPlace reports whether a place has only letters, digits and _.
func validPlace(place string) bool {
	return !strings.ContainsFunc(place, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_'
	})
}

// at returns the position of a place in the same history as another position.
func at(position, place string) string {
	history, _, _ := strings.Cut(position, "-")
	return history + "-" + place
}

func parseGap(text string) (Gap, error) {
	var g struct {
		From string    `json:"from"`
		To   string    `json:"to"`
		Why  GapReason `json:"why"`
	}
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return Gap{}, malformed("gap: %w", err)
	}
	if !validPosition(g.To) {
		return Gap{}, malformed("the position %.80q", g.To)
	}
	return Gap{Reason: g.Why, From: g.From, Position: g.To}, nil
}

func parseNumber(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > maxNumber {
		return 0, malformed("the number %.40q", text)
	}
	return n, nil
}
