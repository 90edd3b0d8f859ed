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

// Outcome is what one handler did.
type Outcome struct {
	// Err is what the handler returned, or a [dog.ResetError] when it panicked,
	// what it stored could not be kept, or the object did not start.
	Err error

	// Stored are the keys that it put, with their values, where these differ
	// from what was there before. Rows of SQL are not among them: ask for them
	// with a query, in another Run.
	Stored map[string][]byte

	// Deleted are the keys that it deleted, in order.
	Deleted []string

	// Alarms are those that are set afterwards, in the order of their times,
	// and then those that have failed.
	Alarms []dog.Alarm

	// Sent are the messages that each of the clients given to Run got, in their
	// order.
	Sent [][]dog.Message
}

// Run runs a handler in a turn of an object, in memory or not, and returns what
// came of it when what it stored is durable. No server is needed:
//
//	out := dogtest.Run(t, accounts.Named("ada"), func(ctx context.Context, a *Account) error { return a.Deposit(ctx, 5) })
//	require.Equal(t, "5", string(out.Stored["balance"]))
//
// What other events of the object do while the handler waits counts as its own.
// Where the test gives clients, it must run in a bubble: Run waits until
// everything has come to rest. What they got before, and have not taken, is
// dropped.
func Run[T any](t testing.TB, stub dog.Stub[T], handler func(ctx context.Context, v *T) error, clients ...*Client) *Outcome {
	t.Helper()
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
	// Not in the same event, since its transaction may be undone at the end.
	err := hook.Event(t.Context(), stub, func(_ context.Context, v any) error { return out.look(v, before) })
	if err != nil && out.Err == nil { // else the runtime may be gone
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

// look compares what an object has stored with what it had before. It is called
// in the object's turn.
func (o *Outcome) look(v any, before map[string][]byte) error {
	after, err := keysOf(v)
	if err != nil || before == nil { // the handler did not run
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

// keysOf returns the keys that an object has stored, with their values. It is
// called in the object's turn.
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
