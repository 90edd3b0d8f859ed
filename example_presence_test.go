package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/godurable/dog"
)

// Square is a group that shows its members.
type Square struct{ dog.Group }

// OnPresence sends what has changed to all clients.
func (s *Square) OnPresence(_ context.Context, change dog.PresenceChange) error {
	return s.Broadcast(change)
}

// Corner is a replica of a square.
type Corner struct{ dog.Replica }

// OnOpen sends a newcomer the first page of the members.
func (c *Corner) OnOpen(ctx context.Context, s *dog.Socket) error {
	members, err := dog.GroupOf[Square](c).Members(ctx, "", 100)
	if err != nil {
		return err
	}
	return s.Send(map[string]any{"members": members})
}

// OnMessage shows what a client is doing.
func (c *Corner) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	return s.SetPresence(m.String())
}

// A group sends its clients the members that have joined and left. A second
// device of a uid changes nothing, wherever it connects.
func ExamplePresence() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	corners, err := dog.RegisterReplica[Corner](rt, "corner", nil)
	if err != nil {
		log.Fatal(err)
	}
	squares, err := dog.RegisterGroup(rt, "square", corners, &dog.GroupOptions[Square]{
		Limit:    2,
		Presence: dog.Presence{Grace: 100 * time.Millisecond}, // so short for the example's sake only
	})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		corner, err := squares.Named("market").Identify(req.Context(), req.FormValue("user"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		corner.ServeHTTP(w, req)
	}))
	defer server.Close()

	ctx := context.Background()
	enter := func(user string) *websocket.Conn {
		c, _, err := websocket.Dial(ctx, server.URL+"/?user="+user, nil)
		if err != nil {
			log.Fatal(err)
		}
		return c
	}
	ada := enter("ada")
	defer ada.CloseNow()
	read := func() {
		var m struct {
			Members []dog.Member
			dog.PresenceChange
		}
		if err := wsjson.Read(ctx, ada, &m); err != nil {
			log.Fatal(err)
		}
		switch {
		case len(m.Joined) > 0:
			fmt.Println(m.Joined[0].UID, "has come, of", m.Count)
		case len(m.Left) > 0:
			fmt.Println(m.Left[0].UID, "has gone, of", m.Count+1)
		case len(m.Changed) > 0:
			fmt.Println(m.Changed[0].UID, "is", string(m.Changed[0].Value))
		default:
			fmt.Println(len(m.Members), "are there")
		}
	}
	read()
	read()
	phone := enter("bob")
	read()
	if err := phone.Write(ctx, websocket.MessageText, []byte("dancing")); err != nil {
		log.Fatal(err)
	}
	read()
	laptop := enter("bob")
	phone.CloseNow()
	laptop.CloseNow()
	read()
	// Output:
	// 1 are there
	// ada has come, of 1
	// bob has come, of 2
	// bob is "dancing"
	// bob has gone, of 2
}
