// Command game is a game for four: players are matched into arenas, and each
// arena moves them 20 times a second.
//
//	go run ./example/game -addr 127.0.0.1:8791
//
// arena.go is the game, server.go puts it behind HTTP, page.html is the page.
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
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8791", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, *addr); err != nil {
		slog.Error("game ended", "error", err)
		os.Exit(1)
	}
}

// run serves the game until ctx is done.
func run(ctx context.Context, addr string) error {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		return err
	}
	handler, err := newServer(rt)
	if err != nil {
		_ = rt.Shutdown(ctx)
		return err
	}
	slog.Info("play in two windows", "url", "http://"+addr)
	return rt.Serve(ctx, &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}, nil)
}
