// Command hollywood is a request and its reply between hollywood's actors.
package main

import (
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"call": func(job drive.Job) (drive.Figures, error) {
		engine, err := actor.NewEngine(actor.NewEngineConfig())
		if err != nil {
			return nil, err
		}
		pid := engine.Spawn(func() actor.Receiver { return new(counter) }, "counter")
		return drive.Rate(subject{engine, pid}, 1, drive.CallBatch, job.Time)
	}})
}

// A counter adds up what it is sent.
type counter struct{ total int }

func (c *counter) Receive(ctx *actor.Context) {
	if n, ok := ctx.Message().(int); ok {
		c.total += n
		ctx.Respond(c.total)
	}
}

type subject struct {
	engine *actor.Engine
	pid    *actor.PID
}

func (s subject) Run(_, n int) (began time.Time, err error) {
	for range n {
		if _, err := s.engine.Request(s.pid, 1, drive.CallTimeout).Result(); err != nil {
			return began, err
		}
	}
	return began, nil
}

func (s subject) Close() error {
	<-s.engine.Poison(s.pid).Done()
	return nil
}
