// Command server runs one library behind the endpoint that the load generator
// knows: GET /ws?uid=… upgrades; the first byte of a message selects whether it
// is sent back to its sender or to all sockets.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

// The bounds of a history, where there is one.
const (
	keptMessages = 10_000
	keptBytes    = 4 << 20
	keptFor      = time.Hour
)

// A library serves the endpoint on a listener, without waiting, and returns
// what counts its open sockets.
type library struct {
	name  string
	proto string
	serve func(net.Listener) (sockets func() int, err error)
}

var libraries = []library{
	{"raw", wire.ProtoPlain, serveRaw},
	{"coder", wire.ProtoPlain, serveCoder},
	{"coder-bg", wire.ProtoPlain, serveCoderBackground},
	{"gorilla", wire.ProtoPlain, serveGorilla},
	{"melody", wire.ProtoPlain, serveMelody},
	{"centrifuge", wire.ProtoCentrifuge, serveCentrifuge},
	{"centrifuge-delay", wire.ProtoCentrifuge, serveCentrifugeDelay},
	{"gws", wire.ProtoPlain, serveGWS},
	{"nbio", wire.ProtoPlain, serveNBIO},
	{"nbio-std", wire.ProtoPlain, serveNBIOStd},
	{"dog", wire.ProtoPlain, serveDog},
	{"dog-objects", wire.ProtoPlain, serveDogObjects},
}

func main() {
	log.SetFlags(0)
	var names []string
	for _, l := range libraries {
		names = append(names, l.name)
	}
	name := flag.String("lib", "dog", "one of "+strings.Join(names, ", "))
	addr := flag.String("addr", "127.0.0.1:0", "where to serve /ws")
	statAddr := flag.String("stat", "127.0.0.1:0", "where to serve /stat and /debug/pprof")
	list := flag.Bool("list", false, "print the names of the libraries")
	flag.Parse()
	if *list {
		fmt.Println(strings.Join(names, "\n"))
		return
	}
	i := slices.Index(names, *name)
	if i < 0 {
		log.Fatalf("server: no library %q", *name)
	}
	if err := run(libraries[i], *addr, *statAddr); err != nil {
		log.Fatalf("server: %s: %v", *name, err)
	}
}

func run(lib library, addr, statAddr string) error {
	stats, err := net.Listen("tcp", statAddr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ready := wire.Ready{Addr: l.Addr().String(), Stat: stats.Addr().String(), Proto: lib.proto}
	if *dogV1 && lib.proto == wire.ProtoPlain {
		ready.Proto = wire.ProtoV1
	}
	sockets, err := lib.serve(l)
	if err != nil {
		return err
	}
	http.HandleFunc("GET /stat", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("gc") != "" {
			runtime.GC() // the second collection, in FreeOSMemory, is the one that empties the pools
			debug.FreeOSMemory()
		}
		s, err := stat(sockets())
		if err == nil && r.FormValue("peak") != "" {
			err = high.reset()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	go func() { log.Fatal(http.Serve(stats, nil)) }()
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func stat(sockets int) (wire.Stat, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return wire.Stat{}, err
	}
	s := wire.Stat{
		CPU:        float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3,
		Heap:       float64(heap()) / 1024,
		Sockets:    sockets,
		Goroutines: runtime.NumGoroutine(),
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return wire.Stat{}, err
	}
	for name, to := range map[string]*float64{"VmRSS:": &s.RSS, "VmHWM:": &s.PeakRSS} {
		_, rss, found := strings.Cut(string(status), name)
		if !found {
			return wire.Stat{}, fmt.Errorf("no %s in /proc/self/status", name)
		}
		if _, err := fmt.Sscan(rss, to); err != nil {
			return wire.Stat{}, err
		}
	}
	s.PeakHeap = float64(high.heap.Load()) / 1024
	return s, nil
}

// high is the highest use of memory since it was reset the last time.
var high peak

type peak struct {
	heap  atomic.Uint64 // bytes
	watch sync.Once
}

// reset begins again from now on.
func (p *peak) reset() error {
	// 5 resets the peak of the RSS, as proc(5) describes.
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return err
	}
	p.heap.Store(0)
	p.watch.Do(func() {
		go func() {
			for range time.Tick(5 * time.Millisecond) {
				p.heap.Store(max(p.heap.Load(), heap()))
			}
		}()
	})
	return nil
}

// heap returns the bytes of objects that live or have not been collected yet.
func heap() uint64 {
	all := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(all)
	return all[0].Value.Uint64()
}

// serveHTTP serves the upgrades of the libraries that live in net/http.
func serveHTTP(l net.Listener, upgrade http.HandlerFunc) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ws", upgrade)
	go func() { log.Fatal(http.Serve(l, mux)) }()
}
