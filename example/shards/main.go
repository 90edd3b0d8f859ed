// Command shards counts page views in a fixed pool of objects, so that no
// object has to count them all.
//
//	go run ./example/shards -data views
//
//	curl -X POST localhost:8080/hit/about/us   # {"page":"about/us","count":1}
//	curl 'localhost:8080/top?n=3'              # the pages with the most views
//	curl localhost:8080/total                  # all views; "missing" are shards that did not answer
//
// tally.go is the object, server.go asks one of them or all and puts them
// behind HTTP.
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
	data := flag.String("data", "", "directory for the counts; by default they are in memory and end with the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *data); err != nil {
		slog.Error("shards ended", "error", err)
		os.Exit(1)
	}
}

// run counts views until ctx is done.
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
	fmt.Printf("counting views on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	return rt.Serve(ctx, server, listener)
}
