package dog

import (
	"context"

	"github.com/godurable/dog/internal/inspect"
	"github.com/godurable/dog/internal/turn"
)

func init() { inspect.Event = inspectEvent }

// leadsTo lets a stub of any type be used.
func (s Stub[T]) leadsTo() target { return s.to }

// inspectEvent is [inspect.Event].
func inspectEvent(ctx context.Context, stub any, f func(ctx context.Context, v any) error) error {
	to := stub.(interface{ leadsTo() target }).leadsTo()
	if to == nil {
		return notRunning("dogtest.Run")
	}
	if err := to.runtime().enter(); err != nil {
		return err
	}
	defer to.runtime().leave()
	from := turn.Inside(nil, ctx)
	return reach(ctx, &from, to, "Run", f)
}
