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

// Fleet is a group of depots.
type Fleet struct{ dog.Group }

// Depot holds the connections of devices and updates the devices of a model.
type Depot struct{ dog.Replica }

type device struct{ Serial, Firmware string }

// Receive connects devices at /connect and updates a model at /update.
func (d *Depot) Receive(w http.ResponseWriter, req *http.Request) error {
	query := req.URL.Query()
	switch req.URL.Path {
	case "/connect":
		_, err := d.Connect(w, req, &dog.SocketOptions{
			Tags:        []string{"model:" + query.Get("model")},
			Attachment:  device{Serial: dog.UID(req.Context()), Firmware: query.Get("firmware")},
			AutoRequest: "ping", AutoReply: "pong", // does not wake the depot
		})
		return err // Connect has already responded
	case "/update":
		for s := range d.Sockets("model:" + query.Get("model")) {
			var known device
			if err := s.Attachment(&known); err != nil || known.Firmware == "2" {
				continue
			}
			if err := s.Send("update " + known.Serial + " to 2"); err != nil {
				d.Log().Info("device is gone", "serial", s.UID(), "error", err)
			}
		}
	}
	return nil
}

// Tags select the sockets that get a message. An attachment keeps data with
// each socket.
func ExampleReplica_Sockets() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	depots, err := dog.RegisterReplica[Depot](rt, "depot", nil)
	if err != nil {
		log.Fatal(err)
	}
	fleets, err := dog.RegisterGroup(rt, "fleet", depots, &dog.GroupOptions[Fleet]{Limit: 1000})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		depot, err := fleets.Named("north").Identify(req.Context(), req.URL.Query().Get("serial"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		depot.ServeHTTP(w, req)
	}))
	defer server.Close()

	ctx := context.Background()
	var devices []*websocket.Conn
	for _, query := range []string{
		"serial=1&model=a&firmware=1", "serial=2&model=a&firmware=2", "serial=3&model=b&firmware=1",
	} {
		c, _, err := websocket.Dial(ctx, server.URL+"/connect?"+query, nil)
		if err != nil {
			log.Fatal(err)
		}
		defer c.CloseNow()
		devices = append(devices, c)
	}
	if _, err := http.Get(server.URL + "/update?serial=operator&model=a"); err != nil {
		log.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	_, received, err := devices[0].Read(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(received))
	// Output: update 1 to 2
}
