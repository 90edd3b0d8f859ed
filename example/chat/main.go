// Command chat is a chat room that keeps a log, spreads people over replicas
// with a few places each, and shows the people on each replica.
//
//	go run ./example/chat                # in memory: the log ends with the program
//	go run ./example/chat -data chat     # in a directory: the log survives a crash
//
// Read server.go first, then log.go (an object with SQL and an alarm), room.go
// (a replica with sockets), lobby.go (a group) and protocol.go (the messages to
// and from page.html). People may enter under any name: a real service
// authenticates them in Lobby.Identify.
package main

import (
	"context"
	"errors"
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
	"github.com/godurable/dog/disk"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8787", "address to listen on")
	data := flag.String("data", "", "data directory; default: in memory")
	limit := flag.Int("limit", 2, "people per replica")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	store := disk.Memory()
	if *data != "" {
		store = disk.At(*data)
	}
	if err := run(ctx, *addr, store, *limit); err != nil {
		slog.Error("chat ended", "error", err)
		os.Exit(1)
	}
}

// run serves the chat until ctx is done.
func run(ctx context.Context, addr string, store dog.Store, limit int) error {
	rt, err := dog.New(dog.Options{Store: store, Sockets: sockets})
	if err != nil {
		return err
	}
	chat, err := register(rt, limit)
	if err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	fmt.Printf("the chat room is open: http://%s\n", listener.Addr())
	return rt.Serve(ctx, &http.Server{Handler: handler(chat), ReadHeaderTimeout: 10 * time.Second}, listener)
}
