// Command goakt is a request and its reply between goakt's actors.
package main

import (
	"context"
	"time"

	actors "github.com/tochemey/goakt/v3/actor"
	"github.com/tochemey/goakt/v3/log"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"call": func(job drive.Job) (drive.Figures, error) {
		ctx := context.Background()
		system, err := actors.NewActorSystem(
			"bench", actors.WithPassivationDisabled(), actors.WithLogger(log.DiscardLogger),
		)
		if err != nil {
			return nil, err
		}
		if err := system.Start(ctx); err != nil {
			return nil, err
		}
		pid, err := system.Spawn(ctx, "counter", &counter{total: new(wrapperspb.Int64Value)})
		if err != nil {
			return nil, err
		}
		return drive.Rate(subject{system, pid, wrapperspb.Int64(1)}, 1, drive.CallBatch, job.Time)
	}})
}

// A counter adds up what it is sent. Its answer is always the same message,
// which spares it an allocation.
type counter struct{ total *wrapperspb.Int64Value }

func (c *counter) PreStart(context.Context) error { return nil }
func (c *counter) PostStop(context.Context) error { return nil }

func (c *counter) Receive(ctx *actors.ReceiveContext) {
	if m, ok := ctx.Message().(*wrapperspb.Int64Value); ok {
		c.total.Value += m.Value
		ctx.Response(c.total)
	}
}

type subject struct {
	system actors.ActorSystem
	pid    *actors.PID
	one    *wrapperspb.Int64Value
}

func (s subject) Run(_, n int) (began time.Time, err error) {
	for range n {
		if _, err := actors.Ask(context.Background(), s.pid, s.one, drive.CallTimeout); err != nil {
			return began, err
		}
	}
	return began, nil
}

func (s subject) Close() error { return s.system.Stop(context.Background()) }
