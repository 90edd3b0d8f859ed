package dogtest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
)

// Outcome is the outcome of one handler.
type Outcome struct {
	// Err is the error of the handler, or a [dog.ResetError] if the handler
	// panicked, its writes could not be kept, or the object did not start.
	Err error

	// Stored holds the keys that the handler put, with their values, where
	// these differ from the values before. It does not include SQL rows: query
	// them in another Run.
	Stored map[string][]byte

	// Deleted holds the keys that the handler deleted, in byte order.
	Deleted []string

	// Alarms holds the alarms that are set afterwards, in the order of their
	// times, followed by those that have failed.
	Alarms []dog.Alarm

	// Sent holds the messages that each of the clients passed to Run received,
	// in the order of the clients.
	Sent [][]dog.Message
}

// Run runs a handler in a turn of an object, in memory or not, and returns its
// outcome when its writes are durable. No server is needed:
//
//	out := dogtest.Run(t, accounts.Named("ada"), func(ctx context.Context, a *Account) error {
//		return a.Deposit(ctx, 5)
//	})
//	require.Equal(t, "5", string(out.Stored["balance"]))
//
// The effects of other events of the object while the handler waits count as
// the handler's. If the test passes clients, it must run in a bubble, since Run
// waits until all goroutines are blocked. Messages that the clients received
// before and have not taken are dropped.
func Run[T any](
	t testing.TB, stub dog.Stub[T], handler func(ctx context.Context, v *T) error, clients ...*Client,
) *Outcome {
	t.Helper()
	if handler == nil {
		return &Outcome{Err: &dog.UsageError{Op: "dogtest.Run", Problem: "the handler is nil"}}
	}
	if len(clients) > 0 {
		synctest.Wait()
	}
	for _, c := range clients {
		c.Received()
	}
	out := &Outcome{}
	var before map[string][]byte
	out.Err = hook.Event(t.Context(), stub, func(ctx context.Context, v any) (err error) {
		if before, err = keysOf(v); err != nil {
			return err
		}
		return handler(ctx, v.(*T))
	})
	// This is not in the same event, since its transaction may be undone at the
	// end.
	err := hook.Event(t.Context(), stub, func(_ context.Context, v any) error { return out.look(v, before) })
	if err != nil && out.Err == nil { // otherwise the runtime may be gone
		t.Fatalf("dogtest: run: look at what was stored: %v", err)
	}
	if len(clients) > 0 {
		synctest.Wait()
	}
	for _, c := range clients {
		out.Sent = append(out.Sent, c.Received())
	}
	return out
}

// look compares an object's stored data with its earlier data. It is called in
// the object's turn.
func (o *Outcome) look(v any, before map[string][]byte) error {
	after, err := keysOf(v)
	if err != nil || before == nil { // nil: the handler did not run
		return err
	}
	o.Stored = make(map[string][]byte)
	for key, value := range after {
		if old, found := before[key]; !found || !bytes.Equal(old, value) {
			o.Stored[key] = value
		}
	}
	maps.DeleteFunc(before, func(key string, _ []byte) bool { _, kept := after[key]; return kept })
	o.Deleted = slices.Sorted(maps.Keys(before))
	storage, err := storageOf(v)
	if err != nil {
		return err
	}
	for alarm, err := range storage.Alarms().All() {
		if err != nil {
			return err
		}
		o.Alarms = append(o.Alarms, alarm)
	}
	return nil
}

// keysOf returns an object's stored keys with their values. It is called in the
// object's turn.
func keysOf(v any) (map[string][]byte, error) {
	storage, err := storageOf(v)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]byte)
	for entry, err := range storage.List(dog.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		all[entry.Key] = entry.Value
	}
	return all, nil
}

func storageOf(v any) (*dog.Storage, error) {
	object, ok := v.(interface{ Storage() *dog.Storage })
	if !ok {
		return nil, errors.New("a method or field named Storage hides that of dog.Object")
	}
	return object.Storage(), nil
}
