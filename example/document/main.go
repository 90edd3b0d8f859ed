// Command document keeps documents that people write together. Each document is
// one object, with its own database and the WebSockets of the people who have
// it open.
//
//	go run ./example/document -addr 127.0.0.1:8790 -data documents
//
// document.go is the object, server.go puts it behind HTTP, page.html is the
// page.
package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8790", "address to listen on")
	data := flag.String("data", "documents", "data directory")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr, *data); err != nil {
		slog.Error("document ended", "error", err)
		os.Exit(1)
	}
}

// run serves documents until ctx is done.
func run(ctx context.Context, addr, data string) error {
	rt, err := dog.New(dog.Options{Store: disk.At(data)})
	if err != nil {
		return err
	}
	handler, err := newServer(rt, schema)
	if err != nil {
		_ = rt.Shutdown(ctx)
		return err
	}
	slog.Info("open a document", "url", "http://"+addr+"/readme")
	return rt.Serve(ctx, &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}, nil)
}
