package object

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
	"github.com/godurable/dog/internal/tx"
)

// resetError is what the host makes of a reset.
type resetError struct{ cause error }

func (e *resetError) Error() string        { return "reset: " + e.cause.Error() }
func (e *resetError) Is(target error) bool { return target == ErrReset }
func (e *resetError) Unwrap() error        { return e.cause }

// newHost returns a host whose limits are those of c. end ends it and waits.
func newHost(t testing.TB, c Config) *Host {
	t.Helper()
	if c.Engine == nil {
		c.Engine = store.NewMemory()
	}
	if c.EvictAfter == 0 {
		c.EvictAfter = time.Hour
	}
	if c.HibernateAfter == 0 {
		c.HibernateAfter = time.Hour
	}
	c.Logger = slog.New(slog.DiscardHandler)
	c.Errors = Errors{
		Reset:   func(_ ID, cause error) error { return &resetError{cause} },
		Panic:   func(value any, _ []byte) error { return fmt.Errorf("panic: %v", value) },
		Stack:   func(error) []byte { return nil },
		Aborted: func(EventKind, any) error { return nil },
	}
	if c.Report == nil {
		c.Report = func(*Object, EventKind, error) {}
	}
	h := NewHost(c)
	t.Cleanup(func() {
		h.Work.Close()
		h.StopObjects(time.Second)
		h.End(ErrShutdown)
		h.Services.Wait()
		h.Work.Wait()
		require.NoError(t, h.Engine.Close())
	})
	return h
}

// peers are the clients of a test's object.
type peers struct {
	Object
	clients atomic.Int32
}

func (p *peers) Visited() bool         { return p.clients.Load() > 0 }
func (p *peers) Forgotten()            {}
func (p *peers) Occupied() bool        { return p.Visited() }
func (p *peers) Connected(uint64) bool { return p.clients.Load() > 0 }
func (p *peers) Disconnect(uint64)     { p.clients.Store(0) }
func (p *peers) Load() error           { return nil }
func (p *peers) Open() error           { return nil }
func (p *peers) Keeper() tx.Keeper     { return nil }
func (p *peers) Owner() *store.Owner   { return nil }
func (p *peers) Revive(context.Context, *Class, ID, string) (*Object, error) {
	return nil, errors.New("it owns no objects")
}

// add adds a class of plain objects to a host, as set up by the test. Its
// values are the numbers of their lives.
func add(h *Host, set func(c *Class)) *Class {
	lives := 0
	c := &Class{Name: "test", Origin: "test", Number: 1}
	c.New = func(id ID, name string) *Object {
		p := &peers{}
		p.Init(c, id, name, p)
		return &p.Object
	}
	c.Build = func(*Life) (any, error) {
		lives++
		return lives, nil
	}
	if set != nil {
		set(c)
	}
	h.Add(c)
	return c
}

// named returns the object with a name.
func (c *Class) named(name string) *Object { return c.Object(NamedID(c.Origin, ID{}, name), name) }

// run runs an event of an object.
func run(ctx context.Context, o *Object, f func(ctx context.Context, life int) error) error {
	return o.Deliver(
		ctx, &turn.Origin{}, EventCall, func(ctx context.Context, v any) error { return f(ctx, v.(int)) },
	)
}

// nothing is an event that does nothing.
func nothing(context.Context, int) error { return nil }
