package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/drive"
)

// operations is a subject whose workers have an object each.
type operations struct {
	*program
	stubs []dog.Stub[keeper]
	do    func(stub dog.Stub[keeper], n int) (began time.Time, err error)
}

func (o operations) Run(worker, n int) (began time.Time, err error) { return o.do(o.stubs[worker], n) }

// one makes an operation of a call.
func one(call func(stub dog.Stub[keeper]) error) func(dog.Stub[keeper], int) (time.Time, error) {
	return func(stub dog.Stub[keeper], n int) (began time.Time, err error) {
		return drive.Repeat(n, func() error { return call(stub) })
	}
}

// call measures calls without storage.
func call(job drive.Job) (drive.Figures, error) {
	p, err := open("", dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	add := one(func(stub dog.Stub[keeper]) error {
		_, err := dog.Call(context.Background(), stub, (*keeper).Add, 1)
		return err
	})
	return drive.Rate(operations{p, p.stubs("keys", 1), add}, 1, drive.CallBatch, job.Time)
}

// commit measures callers who wait until what they had stored is durable, as
// every result of a call does.
func commit(job drive.Job, namespace string) (drive.Figures, error) {
	p, err := open(job.Dir, dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	store := one(func(stub dog.Stub[keeper]) error { return dog.CallErr0(context.Background(), stub, (*keeper).Store) })
	return drive.Rate(operations{p, p.stubs(namespace, job.Objects), store}, job.Objects, 1, job.Time)
}

// flowBatch is how many events of each of n objects there are between two that
// are awaited: the more objects, the longer they take.
func flowBatch(n int) int { return min(max(64_000/n, 50), 1000) }

// flow measures objects whose events follow each other without waiting for
// anything to be durable. The result of the last of a batch leaves when all of
// them are; the latency is from its end, when it is committed, until its caller
// has it.
func flow(job drive.Job, namespace string) (drive.Figures, error) {
	p, err := open(job.Dir, dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	return drive.Rate(
		operations{p, p.stubs(namespace, job.Objects), storeMany}, job.Objects, flowBatch(job.Objects), job.Time,
	)
}

func storeMany(stub dog.Stub[keeper], n int) (stored time.Time, err error) {
	c := &chain{left: n - 1, ended: make(chan error, 1)}
	if err := dog.CallErr(context.Background(), stub, (*keeper).StoreMany, c); err != nil {
		return stored, err
	}
	select {
	case err = <-c.ended:
	case <-time.After(time.Minute):
		err = errors.New("the events have not ended")
	}
	if err != nil {
		return stored, err
	}
	return dog.Call0(context.Background(), stub, (*keeper).StoreLast)
}

// A chain is a number of events, each of which starts the next.
type chain struct {
	left  int
	ended chan error
}

// StoreMany starts the events of a chain.
func (k *keeper) StoreMany(ctx context.Context, c *chain) error {
	return dog.Go(ctx, func(ctx context.Context) error { return k.storeOne(ctx, c) })
}

func (k *keeper) storeOne(ctx context.Context, c *chain) error {
	// as for an event from outside: else a chain would not leave its processor
	// before the scheduler takes it away
	runtime.Gosched()
	err := k.Store(ctx)
	if c.left--; err == nil && c.left > 0 {
		err = k.StoreMany(ctx, c)
	}
	if err != nil || c.left == 0 {
		c.ended <- err
	}
	return err
}

// StoreLast returns when it had stored.
func (k *keeper) StoreLast(ctx context.Context) (time.Time, error) {
	err := k.Store(ctx)
	return time.Now(), err
}

// getKeys are the keys of the object that is read.
var getKeys = func() []string {
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = objectName(i)
	}
	return keys
}()

// get measures reading a live object's keys in a handler.
func get(job drive.Job) (drive.Figures, error) {
	p, err := open(job.Dir, dog.Options{}, nil)
	if err != nil {
		return nil, err
	}
	stubs := p.stubs("keys", 1)
	if err := dog.CallErr0(context.Background(), stubs[0], (*keeper).PutKeys); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	read := func(stub dog.Stub[keeper], n int) (began time.Time, err error) {
		return began, dog.CallErr(context.Background(), stub, (*keeper).GetKeys, n)
	}
	return drive.Rate(operations{p, stubs, read}, 1, drive.CallBatch, job.Time)
}

// PutKeys stores values to read.
func (k *keeper) PutKeys(context.Context) error {
	for _, key := range getKeys {
		if err := k.Storage().Put(key, drive.Value()); err != nil {
			return err
		}
	}
	return nil
}

// GetKeys reads n values.
func (k *keeper) GetKeys(_ context.Context, n int) error {
	for range n {
		_, found, err := k.Storage().Get(getKeys[rand.IntN(len(getKeys))])
		if err != nil {
			return err
		}
		if !found {
			return errors.New("a key is missing")
		}
	}
	return nil
}
