// Command webhooks accepts deliveries, stores them, and sends them to the
// endpoints of customers: in order for each customer, with retries, and at
// least once even if the program is killed.
//
//	go run ./example/webhooks -data webhooks
//
//	curl -X PUT -d https://example.com/hook localhost:8080/ada/endpoint
//	curl -d '{"paid":5}' -H 'Content-Type: application/json' localhost:8080/ada
//	curl localhost:8080/ada/dead
//	curl -X POST localhost:8080/ada/dead/ada-0000000000000001
//
// The second command delivers something and prints its id. The third lists what
// has failed in all tries, and the last tries one of these again.
//
// An endpoint gets the id in the header Idempotency-Key. A delivery that got a
// 202 is on the disk: dog holds the response until then. customer.go is the
// object, server.go puts it behind HTTP. Customers choose their endpoints, so
// restrict what the program can reach: give it an egress proxy (HTTPS_PROXY,
// HTTP_PROXY) that refuses your own network.
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
	data := flag.String("data", "", "directory for the queues; by default they are in memory and end with the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *data, usual); err != nil {
		slog.Error("webhooks ended", "error", err)
		os.Exit(1)
	}
}

// usual is the policy: nine tries within a little more than an hour.
var usual = Policy{Tries: 9, First: 15 * time.Second, Most: time.Hour, Timeout: 10 * time.Second, Waiting: 10_000}

// run accepts and sends deliveries until ctx is done.
func run(ctx context.Context, addr, data string, policy Policy) error {
	options := dog.Options{ShutdownTimeout: usual.Timeout + 5*time.Second} // so that a try can end
	if data != "" {
		options.Store = disk.At(data)
	}
	rt, err := dog.New(options)
	if err != nil {
		return err
	}
	defer func() { _ = rt.Shutdown(ctx) }() // unless Serve has done it
	handler, err := newServer(rt, policy, http.DefaultTransport)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("accepting deliveries on http://%s\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second}
	return rt.Serve(ctx, server, listener)
}
