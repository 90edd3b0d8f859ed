package main

import (
	"context"
	"time"

	"github.com/godurable/dog"
)

// A Limit is what each key may do: Burst requests at once, and in the long run
// one per Every.
type Limit struct {
	Burst int
	Every time.Duration
}

// Bucket is the token bucket of one key. Tokens are not counted but told by the
// clock: full is when the bucket is full again, and each request puts that off
// by Limit.Every.
//
// This one moment is kept in memory, so a decision costs no write. It is stored
// when the bucket leaves memory before it is full, and deleted by an alarm when
// it no longer says anything. So neither eviction nor a restart in good order
// forgets anything. A crash forgets what has happened since the bucket last
// came into memory: its key may get up to Burst requests more. For requests
// that is a good trade; where each token is worth money, store full in Take.
type Bucket struct {
	dog.Object
	limit Limit // fixed
	full  time.Time
}

// register makes buckets with a limit known to the runtime.
func register(rt *dog.Runtime, limit Limit) (*dog.Namespace[Bucket], error) {
	return dog.RegisterObject(rt, "bucket", &dog.ObjectOptions[Bucket]{
		New: func() *Bucket { return &Bucket{limit: limit} },
	})
}

// A Decision says whether a request may go on.
type Decision struct {
	Allowed   bool
	Remaining int           // requests that may follow at once
	Wait      time.Duration // when it may not: until it may
}

// OnStart runs before the first event of each life.
func (b *Bucket) OnStart(context.Context) (err error) {
	b.full, _, err = dog.Get[time.Time](b.Storage(), "full")
	empty := time.Now().Add(time.Duration(b.limit.Burst) * b.limit.Every)
	if b.full.After(empty) { // the clock was put back, or the limit was stricter
		b.full = empty
	}
	return err
}

// Take takes a token, if there is one.
func (b *Bucket) Take(context.Context) (Decision, error) {
	now := time.Now()
	if b.full.Before(now) {
		b.full = now
	}
	// The last token is there while the bucket is full no later than Burst-1
	// tokens from now.
	latest := now.Add(time.Duration(b.limit.Burst-1) * b.limit.Every)
	if b.full.After(latest) {
		return Decision{Wait: b.full.Sub(latest)}, nil
	}
	remaining := int(latest.Sub(b.full) / b.limit.Every)
	b.full = b.full.Add(b.limit.Every)
	return Decision{Allowed: true, Remaining: remaining}, nil
}

// OnStop runs before the bucket leaves memory.
func (b *Bucket) OnStop(context.Context, dog.StopReason) error {
	if !b.full.After(time.Now()) {
		return nil // as good as new
	}
	if err := dog.Put(b.Storage(), "full", b.full); err != nil {
		return err
	}
	return b.Storage().Alarms().Set(b.full)
}

// OnAlarm deletes what was stored: keys that were seen once leave nothing
// behind.
func (b *Bucket) OnAlarm(context.Context, dog.Alarm) error { return b.Storage().DeleteAll() }
