package dog_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/godurable/dog"
)

// Turnstiles is a group of turnstiles that serve one visitor at a time.
type Turnstiles struct{ dog.Group }

// Turnstile counts its visitors.
type Turnstile struct {
	dog.Replica
	visitors int
}

// Receive counts a visitor and responds with the visitors of all turnstiles.
func (t *Turnstile) Receive(w http.ResponseWriter, req *http.Request) error {
	t.visitors++
	replies, err := t.Gossip(req.Context(), "how many?") // the turn is given up here
	if err != nil {
		dog.WriteError(w, err)
		return nil
	}
	total := t.visitors
	for _, reply := range replies {
		var visitors int
		if err := reply.Decode(&visitors); err != nil {
			log.Printf("turnstile %s does not answer: %v", reply.Replica, err)
			continue
		}
		total += visitors
	}
	fmt.Fprintf(w, "%d here, %d at all %d turnstiles", t.visitors, total, len(replies)+1)
	return nil
}

func (t *Turnstile) OnGossip(context.Context, dog.Message) (any, error) { return t.visitors, nil }

// A replica asks its siblings before it responds.
func ExampleReplica_Gossip() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	replicas, err := dog.RegisterReplica[Turnstile](rt, "turnstile", nil)
	if err != nil {
		log.Fatal(err)
	}
	groups, err := dog.RegisterGroup(rt, "turnstiles", replicas, &dog.GroupOptions[Turnstiles]{Limit: 1})
	if err != nil {
		log.Fatal(err)
	}
	museum := groups.Named("museum")

	// Both are identified before either request is served, so each gets a
	// replica of its own.
	var stubs []dog.Stub[Turnstile]
	for _, visitor := range []string{"ada", "bob"} {
		stub, err := museum.Identify(context.Background(), visitor)
		if err != nil {
			log.Fatal(err)
		}
		stubs = append(stubs, stub)
	}
	for _, stub := range stubs {
		answer := httptest.NewRecorder()
		stub.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(body))
	}
	// Output:
	// 1 here, 1 at all 2 turnstiles
	// 1 here, 2 at all 2 turnstiles
}
