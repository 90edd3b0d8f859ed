package client_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"os"
	"time"

	"github.com/godurable/dog/client"
)

// A program that follows a room, and loads everything again where messages are
// missing.
func Example() {
	ctx := context.Background()
	c, err := client.New("wss://example.com/rooms/general", client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for event, err := range c.Events(ctx) {
		if err != nil {
			log.Print(err)
			return
		}
		switch e := event.(type) {
		case client.Message:
			fmt.Printf("%s\n", e.Data)
		case client.Gap: // also at the beginning
			fmt.Println("loading everything, because of the gap", e.Reason)
		}
	}
}

// A device that measures, also while it has no network.
func ExampleClient_Send() {
	c, err := client.New("wss://example.com/devices/d7", client.Options{MaxAge: 10 * time.Minute})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	go func() { // acknowledgements come only to who receives
		for range c.Events(context.Background()) {
		}
	}()
	err = c.Send(context.Background(), struct{ Celsius float64 }{21.5})
	switch {
	case err == nil:
		fmt.Println("the server has it")
	case errors.Is(err, client.ErrUncertain):
		fmt.Println("the server may have it:", err)
	default:
		fmt.Println("the server does not have it:", err)
	}
}

// A program that continues after a restart where it was.
func ExampleOptions() {
	const file = "position"
	options := client.Options{
		SavePosition: func(_ context.Context, position string) error {
			return os.WriteFile(file, []byte(position), 0o600)
		},
		Token: func(ctx context.Context) (string, error) { return "fresh", ctx.Err() },
	}
	switch position, err := os.ReadFile(file); {
	case err == nil:
		options.After = new(string(position))
	case errors.Is(err, fs.ErrNotExist):
		options.After = new("") // everything that is kept
	default:
		log.Fatal(err)
	}
	c, err := client.New("wss://example.com/rooms/general", options)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	event, err := c.Receive(context.Background())
	fmt.Println(event, err)
}
