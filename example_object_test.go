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

// A Document is an object that owns the sockets of the people who have it open.
type Document struct {
	dog.Object
	text string // no mutex: a document handles one event at a time
}

// OnOpen sends the document to a client that has just connected.
func (d *Document) OnOpen(_ context.Context, s *dog.Socket) error { return s.Send(d.text) }

// OnMessage stores a new text and sends it to the others.
func (d *Document) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	d.text = m.String()
	return s.Broadcast(m)
}

// Length can be called whether or not the document has clients.
func (d *Document) Length(context.Context) (int, error) { return len(d.text), nil }

// Clients connect to an object by its name.
// The same object answers typed calls.
func ExampleRegisterObject() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	documents, err := dog.RegisterObject[Document](rt, "document", nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/documents/{name}", func(w http.ResponseWriter, r *http.Request) {
		documents.Named(r.PathValue("name")).ServeHTTP(w, r)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx := context.Background()
	open := func() *websocket.Conn {
		c, _, err := websocket.Dial(ctx, server.URL+"/documents/readme", nil)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	read := func(c *websocket.Conn) string {
		_, text, err := c.Read(ctx)
		if err != nil {
			log.Fatal(err)
		}
		return string(text)
	}
	ada, bob := open(), open()
	fmt.Printf("%q %q\n", read(ada), read(bob))
	if err := ada.Write(ctx, websocket.MessageText, []byte("Dogs are good.")); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q\n", read(bob))
	fmt.Println(dog.Call0(ctx, documents.Named("readme"), (*Document).Length))

	ada.CloseNow()
	bob.CloseNow()
	if err := rt.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// "" ""
	// "Dogs are good."
	// 14 <nil>
}
