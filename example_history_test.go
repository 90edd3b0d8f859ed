package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

// Auction keeps its bids for those who lose their connection.
type Auction struct {
	dog.Object
	highest string
}

// OnOpen sends the state to clients that do not get all that they have missed.
func (a *Auction) OnOpen(_ context.Context, s *dog.Socket) error {
	if s.Resume().Gap == "" {
		return nil
	}
	return s.Send("highest bid: " + a.highest)
}

// OnMessage takes a bid.
func (a *Auction) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	a.highest = m.String()
	return a.Broadcast("bid: " + a.highest)
}

// A client that comes back with its position gets what it has missed. Package
// client and dog.js do all of this by themselves.
func ExampleHistoryOptions() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	auctions, err := dog.RegisterObject(rt, "auction", &dog.ObjectOptions[Auction]{
		History: dog.HistoryOptions{Count: 1000},
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(auctions.Named("clock"))
	defer server.Close()

	connect := func(query string) *websocket.Conn {
		ws, _, err := websocket.Dial(context.Background(), server.URL+query, &websocket.DialOptions{
			Subprotocols: []string{"dog.v1"},
		})
		if err != nil {
			log.Fatal(err)
		}
		return ws
	}
	read := func(ws *websocket.Conn) string {
		_, data, err := ws.Read(context.Background())
		if err != nil {
			log.Fatal(err)
		}
		return string(data)
	}

	ada := connect("")
	var epoch string
	_, err = fmt.Sscanf(read(ada), `h{"v":1,"pos":"%13s`, &epoch)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", read(ada))
	_ = ada.Write(context.Background(), websocket.MessageText, []byte("m\n100"))
	fmt.Printf("%q\n", read(ada))
	_ = ada.CloseNow()

	bob := connect("")
	_ = bob.Write(context.Background(), websocket.MessageText, []byte("m\n120"))
	for read(bob) != "ma2\nbid: 120" {
	}

	ada = connect("?after=" + epoch + "a1")
	read(ada) // hello
	fmt.Printf("%q\n", read(ada))
	_ = ada.CloseNow()
	_ = bob.CloseNow()
	// Output:
	// "m\nhighest bid: "
	// "ma1\nbid: 100"
	// "ma2\nbid: 120"
}
