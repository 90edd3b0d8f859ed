// Command devices is a fleet of devices with a page for its operators: who is
// connected, what waits, and a command for one, some or all, at a rate, which
// ends when too many fail or an operator stops it.
//
//	go run ./example/devices -data fleet                  # the server: open http://127.0.0.1:8792
//	go run ./example/devices -simulate 1000 -flaky        # devices that come and go
//
// Kill the server at any moment and start it again: each device carries out
// each command once. device.go is the object of a device, fleet.go that of all
// of them, operate.go does what operators do, rollout.go sends a command to
// many, simulate.go is the devices.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/disk"
)

//go:embed page.html
var page embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:8792", "address of the server")
	data := flag.String("data", "fleet", "data directory")
	devices := flag.Int("simulate", 0, "be this many devices instead of the server")
	flaky := flag.Bool("flaky", false, "devices come and go")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if *devices > 0 {
		simulate(ctx, newDevices(*devices, "http://"+*addr, nil, *flaky))
		return
	}
	if err := run(ctx, *addr, *data); err != nil {
		slog.Error("devices ended", "error", err)
		os.Exit(1)
	}
}

// run serves the fleet until ctx is done.
func run(ctx context.Context, addr, data string) error {
	rt, err := dog.New(dog.Options{Store: disk.At(data)})
	if err != nil {
		return err
	}
	handler, err := newServer(rt)
	if err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	slog.Info("open the page", "url", "http://"+addr)
	return rt.Serve(ctx, &http.Server{Addr: addr, Handler: handler, ReadHeaderTimeout: 10 * time.Second}, nil)
}

// newServer returns the HTTP handler of the fleet.
func newServer(rt *dog.Runtime) (http.Handler, error) {
	process := uuid.NewString()
	var devices *dog.Namespace[Device]
	fleets, err := dog.RegisterObject(rt, "fleet", &dog.ObjectOptions[Fleet]{
		New:             func() *Fleet { return &Fleet{devices: devices, process: process} },
		RollbackOnError: true,
		Sockets:         dog.SocketOptions{Slow: dog.CoalesceSlow, QueueBytes: 32 << 20}, // the rows of 50,000 devices
	})
	if err != nil {
		return nil, err
	}
	fleet := fleets.Named("all")
	var reports atomic.Int64
	newDevice := func() *Device { return &Device{fleet: fleet, reports: &reports} }
	if devices, err = dog.RegisterObject(rt, "device", &dog.ObjectOptions[Device]{New: newDevice}); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, page, "page.html")
	})
	mux.Handle("GET /dog.js", client.Script())
	// Here a real program checks who it is. As it is, anyone commands the
	// devices at /operate, and is any device at /devices/{device}.
	mux.HandleFunc("GET /operate", fleet.ServeHTTP)
	mux.HandleFunc("GET /devices/{device}", func(w http.ResponseWriter, r *http.Request) {
		device := r.PathValue("device")
		devices.Named(device).WithUID(device).ServeHTTP(w, r)
	})
	return mux, nil
}
