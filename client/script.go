package client

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"
)

//go:embed js/dog.js
var script []byte

//go:embed js/dog-commands.js
var commandScript []byte

// Script returns a handler that serves dog.js, the client for browsers: a
// JavaScript module without dependencies, which follows the same rules as
// [Client].
//
//	mux.Handle("/dog.js", client.Script())
//
// A page imports it:
//
//	<script type="module">
//		import { connect } from '/dog.js';
//		const room = connect('/rooms/general', { store: sessionStorage });
//		room.on('message', (data) => show(data));
//	</script>
//
// Browsers revalidate their copy before they use it, so a page always has the
// script of the server that serves it.
func Script() http.Handler { return module("dog.js", script) }

// CommandScript returns a handler that serves dog-commands.js, which is dog.js
// for devices: its rooms have the option onCommand, by the same rules as
// [Options].OnCommand. It imports dog.js from the same directory.
//
//	mux.Handle("/dog.js", client.Script())
//	mux.Handle("/dog-commands.js", client.CommandScript())
func CommandScript() http.Handler { return module("dog-commands.js", commandScript) }

// module returns a handler that serves a module of JavaScript.
func module(name string, code []byte) http.Handler {
	sum := sha256.Sum256(code)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(code))
	})
}
