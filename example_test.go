package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

// EchoLobby spreads people over rooms of two.
type EchoLobby struct{ dog.Group }

// EchoRoom sends each message to the other people, in all rooms.
type EchoRoom struct {
	dog.Replica
	count int // no mutex: a room handles one event at a time
}

func (r *EchoRoom) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	r.count++
	return s.Broadcast(fmt.Sprintf("%s, no. %d: %s", s.UID(), r.count, m))
}

// A chat room: each person gets the messages of the others, in whichever room
// they are.
func Example() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	rooms, err := dog.RegisterReplica[EchoRoom](rt, "room", nil)
	if err != nil {
		log.Fatal(err)
	}
	lobbies, err := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[EchoLobby]{Limit: 2})
	if err != nil {
		log.Fatal(err)
	}

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		room, err := lobbies.Named("general").Identify(req.Context(), req.URL.Query().Get("user"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		room.ServeHTTP(w, req)
	}))
	defer server.Close()

	ctx := context.Background()
	ada, _, err := websocket.Dial(ctx, server.URL+"?user=ada", nil)
	if err != nil {
		log.Fatal(err)
	}
	bob, _, err := websocket.Dial(ctx, server.URL+"?user=bob", nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := ada.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	_, received, err := bob.Read(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(received))

	ada.Close(websocket.StatusNormalClosure, "")
	bob.Close(websocket.StatusNormalClosure, "")
	if err := rt.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output: ada, no. 1: hello
}
