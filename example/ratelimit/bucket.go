package main

import (
	"context"
	"time"

	"github.com/godurable/dog"
)

// A Limit permits each key Burst requests at once, and in the long run one
// request per Every.
type Limit struct {
	Burst int
	Every time.Duration
}

// Bucket is the token bucket of one key. It does not count tokens. It keeps the
// time at which the bucket will be full again, and each request moves that time
// by Limit.Every.
//
// The time is kept in memory, so a decision costs no write. It is stored when
// the bucket leaves memory before it is full, and an alarm deletes it when it
// has passed. So eviction and an orderly restart lose nothing. A crash loses
// the requests since the bucket last came into memory: its key may get up to
// Burst requests more. That is a good trade for requests. If each token is
// worth money, store full in Take.
type Bucket struct {
	dog.Object
	limit Limit // fixed
	full  time.Time
}

// register registers buckets with a limit.
func register(rt *dog.Runtime, limit Limit) (*dog.Namespace[Bucket], error) {
	return dog.RegisterObject(rt, "bucket", &dog.ObjectOptions[Bucket]{
		New: func() *Bucket { return &Bucket{limit: limit} },
	})
}

// A Decision is the answer to a request for a token.
type Decision struct {
	Allowed   bool
	Remaining int           // requests that may follow at once
	Wait      time.Duration // if it is refused: until the next token
}

// OnStart runs before the first event of each life.
func (b *Bucket) OnStart(context.Context) (err error) {
	b.full, _, err = dog.Get[time.Time](b.Storage(), "full")
	empty := time.Now().Add(time.Duration(b.limit.Burst) * b.limit.Every)
	if b.full.After(empty) { // the clock was set back, or the limit was stricter
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
	// There is a token if the bucket will be full within the time of Burst-1
	// tokens.
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
		return nil // nothing to keep
	}
	if err := dog.Put(b.Storage(), "full", b.full); err != nil {
		return err
	}
	return b.Storage().Alarms().Set(b.full)
}

// OnAlarm deletes the stored time, so that keys seen once leave nothing behind.
func (b *Bucket) OnAlarm(context.Context, dog.Alarm) error { return b.Storage().DeleteAll() }
