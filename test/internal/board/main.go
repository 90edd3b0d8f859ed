// The board keeps what is written on it, with its history, on a disk. Tests
// restart it while pages have it open.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/disk"
)

//go:embed page.html
var page string

// reader has the lines by an EventSource alone, without dog.js.
const reader = `<!doctype html>
<title>reader</title>
<script>
	window.lines = [];
	window.opened = 0; // how often it has connected
	window.source = new EventSource("/history?offset=-1&live=sse");
	source.addEventListener("open", () => opened++);
	source.addEventListener("data", ({ data }) => lines.push(...JSON.parse(data)));
</script>`

type board struct{ dog.Object }

// OnMessage writes a line.
func (b *board) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	_, err := dog.Update(b.Storage(), "lines", func(lines []string) ([]string, error) {
		return append(lines, m.String()), nil
	})
	if err != nil {
		return err
	}
	return b.Broadcast(m)
}

// Receive connects pages, and returns the lines to others.
func (b *board) Receive(w http.ResponseWriter, r *http.Request) error {
	if dog.IsUpgrade(r) {
		_, err := b.Connect(w, r, nil)
		return err
	}
	lines, _, err := dog.Get[[]string](b.Storage(), "lines")
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(lines)
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where it listens")
	data := flag.String("data", "data", "the directory of its data")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rt, err := dog.New(dog.Options{Store: disk.At(*data)})
	if err != nil {
		log.Fatal(err)
	}
	boards, err := dog.RegisterObject(rt, "board", &dog.ObjectOptions[board]{
		History: dog.HistoryOptions{Count: 1000, Durable: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/dog.js", client.Script())
	http.Handle("/board", boards.Named("main"))
	http.Handle("/history", boards.Named("main").History())
	http.HandleFunc("/reader", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, reader)
	})
	http.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, page)
	})
	if err := rt.Serve(ctx, &http.Server{Addr: *addr}, nil); err != nil {
		log.Fatal(err)
	}
}
