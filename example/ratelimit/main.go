// Command ratelimit limits the requests of each client with a token bucket,
// which is an object.
//
//	go run ./example/ratelimit -burst 5 -every 2s
//
//	for i in 1 2 3 4 5 6; do curl -i localhost:8080; done   # the sixth gets 429 with Retry-After: 2
//
// bucket.go is the object, and documents the effect of eviction, a restart and
// a crash on a limit; limiter.go is the middleware.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
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
	data := flag.String("data", "", "directory for the buckets; by default they are in memory and end with the program")
	burst := flag.Int("burst", 5, "requests of one client at once")
	every := flag.Duration("every", 2*time.Second, "time between two requests of one client in the long run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *data, Limit{Burst: *burst, Every: *every}); err != nil {
		slog.Error("ratelimit ended", "error", err)
		os.Exit(1)
	}
}

// run serves requests, within a limit for each client, until ctx is done.
func run(ctx context.Context, addr, data string, limit Limit) error {
	var options dog.Options
	if data != "" {
		options.Store = disk.At(data)
	}
	rt, err := dog.New(options)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Shutdown(ctx) }() // unless Serve has done it
	handler, err := newLimiter(rt, limit, clientIP, http.HandlerFunc(greet))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("greeting, within limits, on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	return rt.Serve(ctx, server, listener)
}

func greet(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello\n") }
