// Command counter serves counters, each a durable object with a name.
//
//	go run ./example/counter -data counters
//
//	curl -X POST localhost:8080/visits           # {"name":"visits","number":1}
//	curl -X POST 'localhost:8080/visits?by=10'   # {"name":"visits","number":11}
//	curl localhost:8080/visits                   # reads the number
//	curl 'localhost:8080/?after=a'               # the names after "a", at most 100
//
// Kill it at any moment and start it again: no number that a client has
// received is lost. counter.go is the object, server.go puts it behind HTTP.
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
	"github.com/godurable/dog/disk"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	data := flag.String(
		"data", "", "directory for the counters; by default they are in memory and end with the program",
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *data); err != nil {
		slog.Error("counter ended", "error", err)
		os.Exit(1)
	}
}

// run serves the counters until ctx is done.
func run(ctx context.Context, addr, data string) error {
	var options dog.Options
	if data != "" {
		options.Store = disk.At(data)
	}
	rt, err := dog.New(options)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Shutdown(ctx) }() // unless Serve has done it
	handler, err := newServer(rt)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("counting on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	return rt.Serve(ctx, server, listener)
}
