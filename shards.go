package dog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
)

// Shards are a fixed number of objects over which keys are spread, where one object would have too much to do: a counter, an
// index, a rate limit for millions of users. Each key always belongs to the same shard, as long as their number stays: choose it
// with room to grow, since there is no resharding. Shards are safe for concurrent use.
type Shards[T any] struct {
	stubs []Stub[T]
}

// NewShards returns n shards: the objects of the namespace that are named name/0 to name/(n-1).
func NewShards[T any](objects *Namespace[T], name string, n int) (*Shards[T], error) {
	if objects == nil || objects.ns == nil || objects.ns.kind == KindReplica {
		return nil, ErrNotRunning
	}
	if n < 1 {
		return nil, fmt.Errorf("dog: %d shards", n)
	}
	s := &Shards[T]{stubs: make([]Stub[T], n)}
	for i := range s.stubs {
		s.stubs[i] = objects.Named(name + "/" + strconv.Itoa(i))
	}
	return s, nil
}

// Len returns the number of shards.
func (s *Shards[T]) Len() int { return len(s.stubs) }

// Index returns which shard a key belongs to, from 0.
func (s *Shards[T]) Index(key string) int {
	if len(s.stubs) == 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(key))
	return int(binary.BigEndian.Uint64(sum[:]) % uint64(len(s.stubs)))
}

// For returns the shard that a key belongs to.
func (s *Shards[T]) For(key string) Stub[T] { return s.Shard(s.Index(key)) }

// Shard returns the shard of an index; the zero Stub when there is none.
func (s *Shards[T]) Shard(index int) Stub[T] {
	if index < 0 || index >= len(s.stubs) {
		return Stub[T]{}
	}
	return s.stubs[index]
}

// ShardQuery says which shards to ask, and how many at a time.
type ShardQuery struct {
	Only        []int // indexes; nil: all
	Concurrency int   // 0: 16
}

// A ShardResult is what one shard answered.
type ShardResult[R any] struct {
	Shard int
	Value R
	Err   error // of this shard; the cause of the context's end when it was not asked; a *PanicError when asking ended its goroutine
}

// QueryShards calls ask for each shard, several at a time, and returns their answers in the order of Only, or of the shards. The
// failure of one is its own Err: [ShardErrors] gathers them. In a handler it gives up the turn, and asks when what the object
// stored before is durable. Errors: a shard that does not exist, those of [Await], and the cause of ctx's end when that came
// before any was asked.
func QueryShards[T, R any](
	ctx context.Context, s *Shards[T], query ShardQuery, ask func(ctx context.Context, shard Stub[T]) (R, error),
) ([]ShardResult[R], error) {
	which := query.Only
	if which == nil {
		which = make([]int, len(s.stubs))
		for i := range which {
			which[i] = i
		}
	}
	if i := slices.IndexFunc(which, func(i int) bool { return i < 0 || i >= len(s.stubs) }); i >= 0 {
		return nil, fmt.Errorf("dog: no shard %d of %d", which[i], len(s.stubs))
	}
	atOnce := query.Concurrency
	if atOnce <= 0 {
		atOnce = 16
	}
	results := make([]ShardResult[R], len(which))
	err := awaitDurable(ctx, nil, func() error {
		var all sync.WaitGroup
		var panicked atomic.Pointer[any]
		places := make(chan struct{}, atOnce)
		for i, shard := range which {
			results[i].Shard = shard
			select {
			case <-ctx.Done():
				results[i].Err = context.Cause(ctx)
				continue
			case places <- struct{}{}:
			}
			all.Go(func() {
				results[i].Err = &PanicError{} // unless ask returns
				defer func() {
					if p := recover(); p != nil {
						panicked.CompareAndSwap(nil, &p)
					}
					<-places
				}()
				results[i].Value, results[i].Err = ask(ctx, s.stubs[shard])
			})
		}
		all.Wait()
		if p := panicked.Load(); p != nil { // where it would have been without goroutines
			panic(*p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// ShardErrors joins the errors of results; nil when there are none.
func ShardErrors[R any](results []ShardResult[R]) error {
	var all []error
	for _, r := range results {
		if r.Err != nil {
			all = append(all, fmt.Errorf("shard %d: %w", r.Shard, r.Err))
		}
	}
	return errors.Join(all...)
}
