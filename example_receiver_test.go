package dog_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/godurable/dog"
)

// A Mailbox serves HTTP requests: POST puts a letter in, GET takes one out.
type Mailbox struct {
	dog.Object
	letters []string
}

// Receive serves the requests that are passed to the mailbox's stub. An error
// that it returns becomes the response.
func (m *Mailbox) Receive(w http.ResponseWriter, r *http.Request) error {
	switch {
	case r.Method == http.MethodPost && len(m.letters) == 2:
		return &dog.StatusError{Status: http.StatusServiceUnavailable, Text: "the box is full", RetryAfter: time.Hour}
	case r.Method == http.MethodPost:
		letter, err := io.ReadAll(io.LimitReader(r.Body, 1<<10)) // a short body is in memory
		if err != nil {
			return err
		}
		m.letters = append(m.letters, string(letter))
		w.WriteHeader(http.StatusCreated)
	case len(m.letters) == 0:
		return &dog.StatusError{Status: http.StatusNotFound, Text: "no letter"}
	default:
		fmt.Fprint(w, m.letters[0])
		m.letters = m.letters[1:]
	}
	return nil
}

// An object serves HTTP requests, one at a time.
func ExampleReceiver() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	boxes, err := dog.RegisterObject[Mailbox](rt, "mailbox", nil)
	if err != nil {
		log.Fatal(err)
	}

	request := func(method, letter string) {
		w := httptest.NewRecorder()
		boxes.Named("ada").ServeHTTP(w, httptest.NewRequest(method, "/", strings.NewReader(letter)))
		fmt.Println(method, w.Code, strings.TrimSpace(w.Body.String()), w.Header()["Retry-After"])
	}
	request("POST", "Dear Ada")
	request("POST", "Dear Ada again")
	request("POST", "Dear Ada!!")
	request("GET", "")
	request("GET", "")
	request("GET", "")
	// Output:
	// POST 201  []
	// POST 201  []
	// POST 503 the box is full [3600]
	// GET 200 Dear Ada []
	// GET 200 Dear Ada again []
	// GET 404 no letter []
}
