package dogview_test

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogview"
)

// Operators see everything and may act if they know a password. A program that
// has sessions asks those instead.
func Example() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	view, err := dogview.New(rt, dogview.Options{
		Rights: func(r *http.Request) dogview.Rights {
			who, password, _ := r.BasicAuth()
			switch {
			case subtle.ConstantTimeCompare([]byte(password), []byte("correct horse")) == 0:
				return 0
			case who == "ada":
				return dogview.All
			}
			return dogview.See
		},
		Who: func(r *http.Request) string {
			who, _, _ := r.BasicAuth()
			return who
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/dog/", http.StripPrefix("/dog", view))

	for _, password := range []string{"guess", "correct horse"} {
		r, w := httptest.NewRequest(http.MethodGet, "/dog/", nil), httptest.NewRecorder()
		r.SetBasicAuth("bob", password)
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// 403
	// 200
}
