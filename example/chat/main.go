// Command chat is a chat room that loses nothing when connections break, keeps
// a log, spreads people over replicas, and shows who is there and on which.
//
//	go run ./example/chat                # in memory: the log ends with the program
//	go run ./example/chat -data chat     # in a directory: the log survives a crash
//
// Read register first, then room.go and log.go.
package main

import (
	"context"
	_ "embed"
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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogprom"
	"github.com/godurable/dog/dogview"
)

//go:embed page.html
var page []byte

func main() {
	addr := flag.String("addr", "127.0.0.1:8787", "address to listen on")
	admin := flag.String("admin", "", "address of /metrics, and of /dog/ for this machine only; default: none")
	data := flag.String("data", "", "data directory; default: in memory")
	limit := flag.Int("limit", 2, "people per replica")
	keep := flag.Duration("history", 10*time.Minute, "how long messages wait for people who come back; 0: not at all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	store := disk.Memory()
	if *data != "" {
		store = disk.At(*data)
	}
	if err := run(ctx, *addr, *admin, store, *limit, *keep); err != nil {
		slog.Error("chat ended", "error", err)
		os.Exit(1)
	}
}

// run serves the chat until ctx is done.
func run(ctx context.Context, addr, admin string, store dog.Store, limit int, keep time.Duration) error {
	rt, err := dog.New(dog.Options{Store: store})
	if err != nil {
		return err
	}
	chat, err := register(rt, limit, keep)
	listener, err2 := net.Listen("tcp", addr)
	if err := errors.Join(err, err2); err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	fmt.Printf("the chat room is open: http://%s\n", listener.Addr())
	watched := make(chan error)
	go func() { watched <- watch(ctx, rt, admin) }()
	err = rt.Serve(ctx, &http.Server{Handler: handler(chat), ReadHeaderTimeout: 10 * time.Second}, listener)
	return errors.Join(err, <-watched)
}

// watch serves a view and the metrics of the runtime, if there is an address.
func watch(ctx context.Context, rt *dog.Runtime, addr string) error {
	if addr == "" {
		return nil
	}
	metrics, mux := prometheus.NewRegistry(), http.NewServeMux()
	view, err := dogview.New(rt, dogview.Options{Rights: dogview.Local(dogview.All)})
	if err = errors.Join(err, metrics.Register(dogprom.New(rt))); err != nil {
		return err
	}
	mux.Handle("/dog/", http.StripPrefix("/dog", view))
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return rt.Serve(ctx, &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 10 * time.Second}, nil)
}

// register registers the three types and returns the only chat.
func register(rt *dog.Runtime, limit int, keep time.Duration) (dog.GroupStub[Lobby, Room], error) {
	logs, err1 := dog.RegisterObject(rt, "log", &dog.ObjectOptions[Log]{Schema: schema})
	rooms, err2 := dog.RegisterReplica(rt, "room", &dog.ReplicaOptions[Room]{
		New: func() *Room { return &Room{log: logs.Named("chat")} },
		Sockets: dog.SocketOptions{
			MaxMessage:  16 << 10, // enough for 2,000 characters, in any escaped form
			QueueBytes:  4 << 20,  // enough for a page of the longest lines
			Compression: dog.CompressionOn,
			AutoRequest: "ping", AutoReply: "pong", // for clients without dog.v1
		},
	})
	lobbies, err3 := dog.RegisterGroup(rt, "lobby", rooms, &dog.GroupOptions[Lobby]{
		Limit: limit, New: func() *Lobby { return &Lobby{limit: limit} },
		History:  dog.HistoryOptions{Age: keep, Durable: keep > 0},
		Presence: dog.Presence{Grace: 10 * time.Second, Durable: true},
	})
	return lobbies.Named("chat"), errors.Join(err1, err2, err3)
}

// handler serves the page, its WebSockets, and the history without a WebSocket.
func handler(chat dog.GroupStub[Lobby, Room]) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /ws", chat) // Lobby.Identify names the person; the group picks a room
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		if name, err := new(Lobby).Identify(r); err != nil {
			dog.WriteError(w, err)
		} else { // what the sockets of this person get
			chat.History().WithUID(name).ServeHTTP(w, r)
		}
	})
	mux.Handle("GET /dog.js", client.Script())
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "frame-ancestors 'none'") // the page has the rest of the policy
		_, _ = w.Write(page)                                                // an error means that the client has gone
	})
	return mux
}
