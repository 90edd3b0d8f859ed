package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/drive"
)

// fillers is how many objects are stored at once.
const fillers = 1024

// fill stores objects, and returns what each takes on disk after compaction.
func fill(job drive.Job, namespace string) (drive.Figures, error) {
	p, err := open(job.Dir, dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	err = drive.Fill(job.Objects, fillers, func(i int) error {
		return dog.CallErr0(context.Background(), p.stub(namespace, i), (*keeper).Store)
	})
	if err := errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	if err := compact(job.Dir); err != nil {
		return nil, fmt.Errorf("compact: %w", err)
	}
	size, err := sizeOf(job.Dir)
	if err != nil {
		return nil, err
	}
	return drive.Figures{drive.Bytes: float64(size) / max(float64(job.Objects), 1)}, nil
}

// start measures how long it takes until a directory is open and its types are
// registered.
func start(job drive.Job) (drive.Figures, error) {
	began := time.Now()
	p, err := open(job.Dir, dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	took := time.Since(began)
	return drive.Figures{drive.Seconds: took.Seconds()}, p.Close()
}

// sleepers is a subject that wakes one stored object after the other.
type sleepers struct {
	*program
	namespace string
	objects   int
	next      int
}

// stride leads through the objects in an order unlike that in which they were
// stored: it is a prime greater than their number.
const stride = 1_000_000_007

func (s *sleepers) Run(_, n int) (began time.Time, err error) {
	for range n {
		stub := s.stub(s.namespace, s.next)
		s.next = (s.next + stride) % s.objects
		if err := dog.CallErr0(context.Background(), stub, (*keeper).Check); err != nil {
			return began, err
		}
	}
	return began, nil
}

// wake measures the first event of objects that are stored and not in memory.
// Few may be in memory, so that each has been evicted before its next event.
func wake(job drive.Job, namespace string) (drive.Figures, error) {
	p, err := open(job.Dir, dog.Options{MaxObjects: max(min(job.Objects/10, 10_000), 1)}, nil)
	if err != nil {
		return nil, err
	}
	return drive.Rate(&sleepers{program: p, namespace: namespace, objects: job.Objects}, 1, 1, job.Time)
}

// live measures the memory of the process when so many stored objects are awake
// and have been read.
func live(job drive.Job, namespace string) (figures drive.Figures, err error) {
	p, err := open(job.Dir, dog.Options{EvictAfter: time.Hour}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	for i := range job.Objects {
		if err := dog.CallErr0(context.Background(), p.stub(namespace, i), (*keeper).Check); err != nil {
			return nil, err
		}
	}
	n := 0
	for range p.namespaces[namespace].Objects() {
		n++
	}
	if n != job.Objects {
		return nil, fmt.Errorf("%d objects are live, not %d", n, job.Objects)
	}
	runtime.GC() // the second collection, in FreeOSMemory, is the one that empties the pools
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	var kib float64
	_, rss, _ := strings.Cut(string(status), "VmRSS:")
	if _, err := fmt.Sscan(rss, &kib); err != nil {
		return nil, err
	}
	return drive.Figures{drive.RSS: kib / 1024}, nil
}

// OnAlarm counts the alarm.
func (k *keeper) OnAlarm(context.Context, dog.Alarm) error {
	k.fired(k.Name())
	return nil
}

// Wake sets the object's alarm.
func (k *keeper) Wake(_ context.Context, at time.Time) error { return k.Storage().Alarms().Set(at) }

// fillAlarms stores objects with an alarm each, and ends when these are due.
func fillAlarms(job drive.Job) (drive.Figures, error) {
	var early atomic.Int64
	p, err := open(job.Dir, dog.Options{}, func(string) { early.Add(1) })
	if err != nil {
		return nil, err
	}
	due := time.Now().Add(500*time.Millisecond + time.Duration(job.Objects)*100*time.Microsecond)
	err = drive.Fill(job.Objects, fillers, func(i int) error {
		return dog.CallErr(context.Background(), p.stub("keys", i), (*keeper).Wake, due)
	})
	if err := errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	if n := early.Load(); n > 0 || time.Now().After(due) {
		return nil, fmt.Errorf("storing the alarms took so long that %d of them have run", n)
	}
	time.Sleep(time.Until(due))
	return drive.Figures{}, nil
}

// alarms measures how fast due alarms run after a restart, which counts too.
func alarms(job drive.Job) (drive.Figures, error) {
	dir := job.Dir + "-copy" // what has run is gone
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, os.DirFS(job.Dir)); err != nil {
		return nil, err
	}
	ran := make([]atomic.Bool, job.Objects)
	left := make(chan struct{})
	var n atomic.Int64
	began := time.Now()
	p, err := open(dir, dog.Options{}, func(name string) {
		var i int
		if _, err := fmt.Sscanf(name, "object-%d", &i); err != nil || ran[i].Swap(true) {
			return
		}
		if n.Add(1) == int64(job.Objects) {
			close(left)
		}
	})
	if err != nil {
		return nil, err
	}
	select {
	case <-left:
	case <-time.After(time.Minute):
		err = fmt.Errorf("only %d of %d alarms have run", n.Load(), job.Objects)
	}
	took := time.Since(began)
	return drive.Figures{drive.PerSecond: float64(job.Objects) / took.Seconds()}, errors.Join(err, p.Close())
}
