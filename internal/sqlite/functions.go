package sqlite

import (
	"bytes"

	sqlite3 "github.com/ncruces/go-sqlite3"
)

// addFunctions replaces SQLite functions whose cost is the product of the sizes
// of their arguments, and which are often called with input from clients. The
// replacements give the same results, and their cost is the sum. Other slow
// functions are ended by the time limit.
func addFunctions(db *sqlite3.Conn, most int) error {
	const flags = sqlite3.DETERMINISTIC | sqlite3.INNOCUOUS
	if err := db.CreateFunction("instr", 2, flags, instr); err != nil {
		return err
	}
	return db.CreateFunction("replace", 3, flags, func(ctx sqlite3.Context, arg ...sqlite3.Value) {
		replace(ctx, arg, most)
	})
}

// instr returns where the second argument first occurs in the first, counted
// from 1 in characters, or in bytes if both are blobs. It returns 0 if there is
// no occurrence.
func instr(ctx sqlite3.Context, arg ...sqlite3.Value) {
	in, what := arg[0].Type(), arg[1].Type()
	if in == sqlite3.NULL || what == sqlite3.NULL {
		return
	}
	if in == sqlite3.BLOB && what == sqlite3.BLOB {
		ctx.ResultInt(bytes.Index(arg[0].RawBlob(), arg[1].RawBlob()) + 1)
		return
	}
	text, ok := asText(arg[0], in)
	part, ok2 := asText(arg[1], what)
	if !ok || !ok2 {
		ctx.ResultError(sqlite3.NOMEM)
		return
	}
	ctx.ResultInt(character(text, part))
}

// asText returns v as text. It returns false if there is no memory for it.
func asText(v sqlite3.Value, as sqlite3.Datatype) (text []byte, ok bool) {
	if as != sqlite3.BLOB {
		text = v.RawText()
		return text, text != nil
	}
	// Reading a blob as text would convert it for its next user.
	c := v.Dup()
	defer quietly(c.Close)
	text = c.RawText()
	return bytes.Clone(text), text != nil
}

// character returns the position of what in text, counted in characters from 1,
// or 0 if there is none. Only an occurrence at the beginning of a character
// counts.
func character(text, what []byte) int {
	if len(what) > 0 && within(what[0]) {
		if bytes.HasPrefix(text, what) {
			return 1
		}
		return 0
	}
	at := bytes.Index(text, what)
	if at < 0 {
		return 0
	}
	n := 1
	for i := range at {
		if !within(text[i+1]) { // ends at the latest at the first character of what
			n++
		}
	}
	return n
}

// within reports whether b is a continuation byte of UTF-8.
func within(b byte) bool { return b&0xc0 == 0x80 }

// replace replaces each occurrence of the second argument in the first by the
// third.
func replace(ctx sqlite3.Context, arg []sqlite3.Value, most int) {
	if arg[0].Type() == sqlite3.NULL || arg[1].Type() == sqlite3.NULL {
		return
	}
	text, old := arg[0].RawText(), arg[1].RawText()
	if len(old) == 0 || old[0] == 0 {
		ctx.ResultRawText(text)
		return
	}
	if arg[2].Type() == sqlite3.NULL {
		return
	}
	by := arg[2].RawText()
	switch {
	case text == nil || by == nil:
		ctx.ResultError(sqlite3.NOMEM)
	case len(text)+bytes.Count(text, old)*(len(by)-len(old)) > most:
		ctx.ResultError(sqlite3.TOOBIG)
	default:
		ctx.ResultRawText(bytes.ReplaceAll(text, old, by))
	}
}
