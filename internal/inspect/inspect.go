// Package inspect is what package dogtest needs of package dog and nobody else
// does.
package inspect

import "context"

// Event runs f as an event of the object that a dog.Stub leads to, in memory or
// not, and returns when what f stored is durable. v is the pointer to the
// user's type. The errors are those of dog.Call. Package dog sets it.
var Event func(ctx context.Context, stub any, f func(ctx context.Context, v any) error) error
