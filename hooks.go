package dog

import (
	"context"
	"log/slog"
	"time"

	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/turn"
)

func init() {
	hook.Event = inspectEvent
	hook.MakeStore = func(open func(*slog.Logger) (store.Engine, error)) any { return &opener{open} }
	hook.SetWallClock = func(rt any, now func() time.Time) { rt.(*Runtime).wallClock = now }
	hook.OpenStore = func(s any, log *slog.Logger) (store.Engine, error) { return s.(Store).openEngine(log) }
}

// An opener is a [Store].
type opener struct {
	open func(*slog.Logger) (store.Engine, error) // fixed
}

func (o *opener) openEngine(log *slog.Logger) (store.Engine, error) { return o.open(log) }

// leadsTo returns the target of a stub, of any type.
func (s Stub[T]) leadsTo() target { return s.to }

// inspectEvent implements [hook.Event].
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
