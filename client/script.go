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

// Script returns a handler that serves dog.js, the client for browsers: a
// module of JavaScript without dependencies, which follows the same rules as
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
// Browsers ask again before they use a copy, so a page always has the script of
// the server that serves it.
func Script() http.Handler {
	sum := sha256.Sum256(script)
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
		http.ServeContent(w, r, "dog.js", time.Time{}, bytes.NewReader(script))
	})
}
