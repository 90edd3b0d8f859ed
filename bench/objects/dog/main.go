// Command dog measures durable objects through the library's public API.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/drive"
	"github.com/godurable/dog/disk"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){
		"call":        call,
		"get":         get,
		"commit":      func(job drive.Job) (drive.Figures, error) { return commit(job, "keys") },
		"commit-sql":  func(job drive.Job) (drive.Figures, error) { return commit(job, "rows") },
		"flow":        func(job drive.Job) (drive.Figures, error) { return flow(job, "keys") },
		"flow-sql":    func(job drive.Job) (drive.Figures, error) { return flow(job, "rows") },
		"fill":        func(job drive.Job) (drive.Figures, error) { return fill(job, "keys") },
		"fill-sql":    func(job drive.Job) (drive.Figures, error) { return fill(job, "rows") },
		"fill-alarms": fillAlarms,
		"start":       start,
		"wake":        func(job drive.Job) (drive.Figures, error) { return wake(job, "keys") },
		"wake-sql":    func(job drive.Job) (drive.Figures, error) { return wake(job, "rows") },
		"live":        func(job drive.Job) (drive.Figures, error) { return live(job, "keys") },
		"live-sql":    func(job drive.Job) (drive.Figures, error) { return live(job, "rows") },
		"alarms":      alarms,
		"kept":        kept,
		"attach":      func(job drive.Job) (drive.Figures, error) { return attach(job, dog.Presence{}) },
		"put":         put,
		"drain":       drain,
		"attach-presence": func(job drive.Job) (drive.Figures, error) {
			return attach(job, dog.Presence{Grace: grace})
		},
	})
}

// A keeper is an object that keeps one value: under a key, or in a row.
type keeper struct {
	dog.Object
	sql   bool
	fired func(name string)
	total int
}

// A program is a runtime with its namespaces.
type program struct {
	rt         *dog.Runtime
	namespaces map[string]*dog.Namespace[keeper]
}

// open opens the directory, or only memory when there is none. fired, if not
// nil, is called for alarms.
func open(dir string, options dog.Options, fired func(name string)) (*program, error) {
	options.Logger = slog.New(slog.DiscardHandler)
	if dir != "" {
		options.Store = disk.At(dir)
	}
	rt, err := dog.New(options)
	if err != nil {
		return nil, err
	}
	p := &program{rt: rt, namespaces: make(map[string]*dog.Namespace[keeper])}
	kinds := map[string]*dog.ObjectOptions[keeper]{
		"keys": {New: func() *keeper { return &keeper{fired: fired} }},
	}
	if dir != "" { // a Schema needs a Store
		kinds["rows"] = &dog.ObjectOptions[keeper]{
			New: func() *keeper { return &keeper{sql: true} }, Schema: dog.Schema{drive.Table},
		}
	}
	for name, options := range kinds {
		if p.namespaces[name], err = dog.RegisterObject(rt, name, options); err != nil {
			return nil, errors.Join(err, p.Close())
		}
	}
	rt.Start() // alarms too
	return p, nil
}

func (p *program) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return p.rt.Shutdown(ctx)
}

// stub returns the i-th object of a namespace.
func (p *program) stub(namespace string, i int) dog.Stub[keeper] {
	return p.namespaces[namespace].Named(objectName(i))
}

func objectName(i int) string { return fmt.Sprintf("object-%d", i) }

func (p *program) stubs(namespace string, n int) []dog.Stub[keeper] {
	all := make([]dog.Stub[keeper], n)
	for i := range all {
		all[i] = p.stub(namespace, i)
	}
	return all
}

// Add is what actors are compared by: it touches nothing but memory.
func (k *keeper) Add(_ context.Context, n int) (total int, err error) {
	k.total += n
	return k.total, nil
}

// Store keeps a new value.
func (k *keeper) Store(context.Context) error {
	if !k.sql {
		return k.Storage().Put("key", drive.Value())
	}
	_, err := k.Storage().SQL().Exec(drive.Upsert, "key", drive.Value())
	return err
}

// Check reads the value.
func (k *keeper) Check(context.Context) (err error) {
	var value []byte
	if k.sql {
		value, _, err = dog.QueryRowAs[[]byte](k.Storage().SQL(), drive.Select, "key")
	} else {
		value, _, err = k.Storage().Get("key")
	}
	if err == nil && len(value) != drive.ValueSize {
		return fmt.Errorf("%s has %d bytes", k.Name(), len(value))
	}
	return err
}
