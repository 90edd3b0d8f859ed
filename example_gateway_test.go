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

// Front is a group that authenticates requests itself.
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

func (d *Desk) Receive(w http.ResponseWriter, req *http.Request) error {
	fmt.Fprint(w, "welcome, ", dog.UID(req.Context()))
	return nil
}

// The stub of a gateway is a complete HTTP handler: it identifies the user,
// picks a replica and passes the request on.
func ExampleGateway() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	desks, err := dog.RegisterReplica[Desk](rt, "desk", nil)
	if err != nil {
		log.Fatal(err)
	}
	fronts, err := dog.RegisterGroup(rt, "front", desks, &dog.GroupOptions[Front]{
		New:   func() *Front { return &Front{tokens: map[string]string{"Bearer 123": "ada"}} },
		Limit: 100,
	})
	if err != nil {
		log.Fatal(err)
	}

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
