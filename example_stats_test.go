package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"github.com/godurable/dog"
)

// Library is a group of reading rooms.
type Library struct{ dog.Group }

// ReadingRoom serves readers.
type ReadingRoom struct{ dog.Replica }

// OnStart makes the start of a room an event of its own.
func (r *ReadingRoom) OnStart(context.Context) error { return nil }

func (r *ReadingRoom) Receive(w http.ResponseWriter, _ *http.Request) error {
	fmt.Fprint(w, "hush")
	return nil
}

// A trace reports events as they happen. Stats is a snapshot.
func ExampleRuntime_Stats() {
	done := make(chan string, 3)
	rt, err := dog.New(dog.Options{Trace: &dog.Trace{
		EventDone: func(_ context.Context, e dog.EventInfo) {
			done <- fmt.Sprint(e.Object.Kind, " ", e.Object.Namespace, " has run ", e.Kind)
		},
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	rooms, err := dog.RegisterReplica[ReadingRoom](rt, "reading room", nil)
	if err != nil {
		log.Fatal(err)
	}
	libraries, err := dog.RegisterGroup(rt, "library", rooms, &dog.GroupOptions[Library]{Limit: 30})
	if err != nil {
		log.Fatal(err)
	}

	for _, reader := range []string{"ada", "bob"} {
		stub, err := libraries.Named("city").Identify(context.Background(), reader)
		if err != nil {
			log.Fatal(err)
		}
		if reader == "ada" { // bob has only reserved a place
			stub.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}
	}

	// Hooks run in the order of the events of one object. There is no order
	// between objects.
	events := []string{<-done, <-done, <-done}
	slices.Sort(events)
	fmt.Println(strings.Join(events, "\n"))

	stats := rt.Stats()
	for _, group := range stats.Groups {
		for _, replica := range group.Replicas {
			fmt.Printf(
				"%s: %d of %d places taken, %d reserved\n", group.Name, replica.Load, replica.Limit, replica.Reserved,
			)
		}
		fmt.Println(group.Lingering, "would be sent back to where they were")
	}
	fmt.Println(stats.Sockets, "sockets")
	// Output:
	// Group library has run OnStart
	// Replica reading room has run OnStart
	// Replica reading room has run Receive
	// city: 1 of 30 places taken, 1 reserved
	// 1 would be sent back to where they were
	// 0 sockets
}
