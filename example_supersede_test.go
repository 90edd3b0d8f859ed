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

// Cockpit is an object that each pilot steers from one screen at a time.
type Cockpit struct{ dog.Object }

// OnOpen closes the older screens of the pilot.
func (c *Cockpit) OnOpen(_ context.Context, s *dog.Socket) error { return s.Supersede() }

func (c *Cockpit) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return s.Send("done: " + m.String())
}

// A new connection of a uid replaces the older ones, of which some may be dead
// without the server knowing it.
func ExampleSocket_Supersede() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	cockpits, err := dog.RegisterObject[Cockpit](rt, "cockpit", nil)
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		cockpits.Named("plane").WithUID(req.FormValue("pilot")).ServeHTTP(w, req)
	}))
	defer server.Close()

	ctx := context.Background()
	enter := func(pilot string) *websocket.Conn {
		c, _, err := websocket.Dial(ctx, server.URL+"/?pilot="+pilot, nil)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	first := enter("ada")
	second := enter("ada")
	defer second.CloseNow()
	_, _, err = first.Read(ctx)
	fmt.Println("first:", websocket.CloseStatus(err))
	if err := second.Write(ctx, websocket.MessageText, []byte("climb")); err != nil {
		log.Fatal(err)
	}
	_, answer, err := second.Read(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("second: %s\n", answer)
	// Output:
	// first: StatusCode(4001)
	// second: done: climb
}
