package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

// Headlines is an object whose clients need the newest message only.
type Headlines struct{ dog.Object }

// OnMessage passes the news of an editor on to the others.
func (h *Headlines) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return s.Broadcast(m)
}

// The options of the runtime hold for all sockets, and those of a type for its
// own.
func ExampleSocketOptions() {
	rt, err := dog.New(dog.Options{Sockets: dog.SocketOptions{
		OriginPatterns: []string{"*.example.com"}, // whose pages may connect as well
		PingInterval:   15 * time.Second,          // for a proxy that cuts idle connections after 20
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	headlines, err := dog.RegisterObject(rt, "headlines", &dog.ObjectOptions[Headlines]{Sockets: dog.SocketOptions{
		MaxMessage:   100,
		Slow:         dog.DropOldest,
		Subprotocols: []string{"headlines.v2", "headlines.v1"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(headlines.Named("news"))
	defer server.Close()

	ctx := context.Background()
	c, _, err := websocket.Dial(ctx, server.URL, &websocket.DialOptions{
		Subprotocols: []string{"headlines.v1", "headlines.v2"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	fmt.Println(c.Subprotocol(), "as the server prefers it")
	// Output: headlines.v2 as the server prefers it
}
