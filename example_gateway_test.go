package dog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/godurable/dog"
)

// Front is a group that finds out itself who sends a request.
type Front struct {
	dog.Group
	tokens map[string]string // user by token
}

// Identify makes Front a gateway.
func (f *Front) Identify(req *http.Request) (string, error) {
	user, ok := f.tokens[req.Header.Get("Authorization")]
	if !ok {
		return "", errors.New("unknown token")
	}
	return user, nil
}

// Desk serves the users that Front sends.
type Desk struct{ dog.Replica }

func (d *Desk) Receive(w http.ResponseWriter, req *http.Request) {
	fmt.Fprint(w, "welcome, ", dog.RequestID(req.Context()))
}

// A gateway's stub is a whole HTTP handler: it identifies, chooses a replica and hands the request on.
func ExampleGateway() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	fronts, err := dog.RegisterGroup(rt, "front", func(f *Front) {
		f.Limit = 100
		f.tokens = map[string]string{"Bearer 123": "ada"}
	})
	if err != nil {
		log.Fatal(err)
	}
	desks, err := dog.RegisterReplica(rt, "desk", func(*Desk) {})
	if err != nil {
		log.Fatal(err)
	}
	dog.Link(fronts, desks)

	server := httptest.NewServer(fronts.Named("main"))
	defer server.Close()
	for _, token := range []string{"Bearer 123", "Bearer 456"} {
		req, err := http.NewRequest("GET", server.URL, nil)
		if err != nil {
			log.Fatal(err)
		}
		req.Header.Set("Authorization", token)
		answer, err := http.DefaultClient.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(answer.StatusCode, string(body))
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 welcome, ada
	// 403 Forbidden
}
