// Command chat is a chat room on dog: people are spread over replicas of a few
// places each and talk to everybody, to those on their own replica, or to one
// person.
//
//	go run ./example/chat -addr 127.0.0.1:8787
//
// lobby.go and room.go are the two types that make the room, protocol.go is
// what they say to the browser, server.go puts them behind HTTP.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/godurable/dog"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8787", "address to listen on")
	limit := flag.Int("limit", 2, "people per replica")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *limit); err != nil {
		slog.Error("chat ended", "error", err)
		os.Exit(1)
	}
}

// options are the chat room's. Lists of people and long messages are worth
// compressing.
var options = dog.Options{
	ShutdownTimeout: 5 * time.Second,
	Sockets:         dog.SocketOptions{Compression: true},
}

// run serves the chat room until ctx is done.
func run(ctx context.Context, addr string, limit int) error {
	rt, err := dog.New(options)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Shutdown(ctx) }() // unless Serve has done it
	handler, err := newServer(rt, limit)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("the chat room is open: http://%s\n", listener.Addr())
	// Neither time-out holds for WebSockets.
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	return rt.Serve(ctx, server, listener)
}
