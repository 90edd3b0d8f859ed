// Package hook lets packages of this module do with package dog what no other
// can. Package dog sets its variables.
//
// It does not know package dog, which imports it: what it passes on of dog has
// the type any.
package hook

import (
	"context"
	"log/slog"
	"time"

	"github.com/godurable/dog/internal/store"
)

// Event runs f as an event of the object that a dog.Stub leads to, in memory or
// not, and returns when f's writes are durable. v is the pointer to the user's
// type. The errors are those of dog.Call.
var Event func(ctx context.Context, stub any, f func(ctx context.Context, v any) error) error

// MakeStore returns the dog.Store that is opened by open.
var MakeStore func(open func(log *slog.Logger) (store.Engine, error)) any

// OpenStore opens a dog.Store.
var OpenStore func(s any, log *slog.Logger) (store.Engine, error)

// SetWallClock gives a *dog.Runtime that has not started another time of day.
var SetWallClock func(rt any, now func() time.Time)
