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
	"github.com/godurable/dog/internal/wire"
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

// EpochKey is the key under which package outbox keeps what an object's epoch
// is made of. It does not survive an import.
const EpochKey = "outbox/epoch"

// HandleFrames makes f handle the frames from admitted sockets of a *dog.Object
// that are for a queue of commands, in the object's turn, until this life of
// the object ends. It must be called in OnStart. It returns a dog.UsageError if
// it was called for another queue in this life, and dog.ErrOutsideTurn outside
// the turn.
var HandleFrames func(
	object, queue any, f func(ctx context.Context, socket any, binary bool, frame wire.Frame) error,
) error

// Admit lets the frames of a *dog.Socket reach the function of HandleFrames. It
// fails if the socket is closed or its client does not speak dog.v1.
var Admit func(socket any) error

// Admitted reports whether a *dog.Socket has been admitted, and whether its
// client has said that it takes commands.
var Admitted func(socket any) (admitted, ready bool)

// SendFrame sends a frame of dog.v1 to an admitted *dog.Socket, as Socket.Send
// sends a message.
var SendFrame func(socket any, binary bool, frame []byte) error

// Setting returns what a *dog.Object is part of: the identity of the copy of
// the store, and the time of day by which its alarms run.
var Setting func(object any) (storeCopy string, now time.Time)

// InTurn returns dog.ErrOutsideTurn if no handler of a *dog.Object has the
// turn, or why the object is over.
var InTurn func(object any) error

// MayWait returns the error of a wait that the handler of a context may not
// begin, such as one in a nested transaction, or the cause of the context's
// end. It returns dog.ErrOutsideTurn if that is no handler of a *dog.Object
// that runs.
var MayWait func(ctx context.Context, object any) error

// Reverts returns how often something that a *dog.Object has stored in this
// life has been undone, or everything deleted. Its errors are those of
// dog.Storage.
var Reverts func(object any) (uint64, error)

// Look returns what package dogview does with the objects of the type that is
// registered under a name in a *dog.Runtime, or nil if there is none. The
// methods of the result have types of dog, so that package declares them.
var Look func(rt any, name string) any
