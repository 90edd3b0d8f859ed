package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
)

// A Feed numbers its entries and keeps them, so that clients can catch up.
type Feed struct{ dog.Object }

// An Entry is an entry of a feed.
type Entry struct {
	N    int64
	Text string
}

// entries returns the entries by their numbers.
func (f *Feed) entries() dog.Map[Entry] { return dog.MapOf[Entry](f.Storage(), "entry/") }

// Post stores an entry and sends it to all clients.
func (f *Feed) Post(_ context.Context, text string) (int64, error) {
	n, err := dog.Update(f.Storage(), "last", func(n int64) (int64, error) { return n + 1, nil })
	if err != nil {
		return 0, err
	}
	if err := f.entries().Put(fmt.Sprintf("%016d", n), Entry{n, text}); err != nil {
		return 0, err
	}
	return n, f.Broadcast(Entry{n, text})
}

// OnMessage sends a client the entries after the number that it names.
func (f *Feed) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	var after int64
	if err := m.Decode(&after); err != nil {
		return s.Close(1008, "not a number")
	}
	for entry, err := range f.entries().List(dog.ListOptions{StartAfter: fmt.Sprintf("%016d", after), Limit: 100}) {
		if err != nil {
			return err
		}
		if err := s.Send(entry.Value); err != nil {
			return err
		}
	}
	return nil
}

// A map keeps the entries of a feed in the order of their keys. A client that
// has read the first entry and comes back asks for those after it.
func ExampleMapOf() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	feeds, err := dog.RegisterObject[Feed](rt, "feed", nil)
	if err != nil {
		log.Fatal(err)
	}
	news := feeds.Named("news")
	server := httptest.NewServer(news)
	defer server.Close()

	ctx := context.Background()
	for _, text := range []string{"sunrise", "rain", "rainbow"} {
		if _, err := dog.Call(ctx, news, (*Feed).Post, text); err != nil {
			log.Fatal(err)
		}
	}
	client, _, err := websocket.Dial(ctx, server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer client.CloseNow()
	if err := client.Write(ctx, websocket.MessageText, []byte("1")); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		_, entry, err := client.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(entry))
	}
	// Output:
	// {"N":2,"Text":"rain"}
	// {"N":3,"Text":"rainbow"}
}
