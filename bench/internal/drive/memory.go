package drive

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"sync"
	"syscall"
	"time"
)

// Kept measures the heap of each of n messages that keep keeps, and how many it
// keeps a second.
func Kept(n int, keep func(message []byte) error) (Figures, error) {
	if err := keep(Value()); err != nil { // what there is once
		return nil, err
	}
	before := heap()
	began := time.Now()
	for range n {
		if err := keep(Value()); err != nil {
			return nil, err
		}
	}
	took := time.Since(began).Seconds()
	return Figures{HeapEach: (heap() - before) / float64(n), PerSecond: float64(n) / took}, nil
}

// A Door is where clients attach.
type Door struct {
	Handler http.Handler
	Hello   []byte             // what each client sends
	Writes  int64              // after so many to it, a client is attached
	Target  func(i int) string // the URL of the i-th client
	Gone    func() bool        // whether all clients are gone and nothing is left to be done
	Present func(n int) error  // nil, or checks the number of those that are there
}

// attachTimeout bounds the waits of Attach.
const attachTimeout = time.Minute

// Attach measures n clients that connect and disconnect: the CPU of each, and
// the heap while all are there. A tenth of them come before, to warm up.
func Attach(n int, d Door) (Figures, error) {
	if _, err := attach(n/10, d); err != nil {
		return nil, fmt.Errorf("warming up: %w", err)
	}
	return attach(n, d)
}

func attach(n int, d Door) (Figures, error) {
	sinks := make([]*Sink, n)
	empty := heap()
	before := cpu()
	var attached sync.WaitGroup
	attached.Add(n)
	for i := range sinks {
		sinks[i] = NewSink(d.Hello, d.Writes, attached.Done)
		if err := sinks[i].Upgrade(d.Handler, d.Target(i)); err != nil {
			return nil, err
		}
	}
	all := make(chan struct{})
	go func() {
		attached.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-time.After(attachTimeout):
		return nil, errors.New("not all clients are attached")
	}
	used := cpu() - before
	if err := d.Present(n); err != nil {
		return nil, err
	}
	full := heap()
	before = cpu()
	for _, s := range sinks {
		_ = s.Close()
	}
	for end := time.Now().Add(attachTimeout); !d.Gone(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return nil, errors.New("not all clients are gone")
		}
	}
	used += cpu() - before
	return Figures{CPUEach: used / float64(n), HeapEach: (full - empty) / float64(n)}, nil
}

// heap returns the bytes of all objects that live.
func heap() float64 {
	debug.FreeOSMemory() // the second collection empties the pools
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// cpu returns the CPU time of the process in µs.
func cpu() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e3
}
