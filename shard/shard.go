// Package shard spreads keys over a fixed number of objects, for work that is
// too much for one object: a counter, an index, a rate limit for millions of
// users.
package shard

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

	"github.com/godurable/dog"
)

// Set is a fixed number of objects over which keys are spread. A key always
// belongs to the same object as long as the number of objects stays the same.
// Choose the number with room to grow, since there is no resharding. A Set is
// safe for concurrent use. The zero Set has no shards.
type Set[T any] struct {
	stubs []dog.Stub[T]
}

// New returns a Set of n shards: the objects of the namespace with the names
// name/0 to name/(n-1). It returns a [dog.UsageError] if n is below 1 or the
// namespace was not made by a runtime.
func New[T any](objects *dog.Namespace[T], name string, n int) (*Set[T], error) {
	if objects.Named(name) == (dog.Stub[T]{}) {
		return nil, &dog.UsageError{Op: "shard.New", Problem: "the namespace was not made by a runtime"}
	}
	if n < 1 {
		return nil, &dog.UsageError{Op: "shard.New", Problem: fmt.Sprintf("%d shards; there is one at least", n)}
	}
	s := &Set[T]{stubs: make([]dog.Stub[T], n)}
	for i := range s.stubs {
		s.stubs[i] = objects.Named(name + "/" + strconv.Itoa(i))
	}
	return s, nil
}

// Len returns the number of shards.
func (s *Set[T]) Len() int {
	if s == nil {
		return 0
	}
	return len(s.stubs)
}

// Index returns the index of the shard that a key belongs to, counted from 0.
func (s *Set[T]) Index(key string) int {
	if s.Len() == 0 {
		return 0
	}
	sum := sha256.Sum256([]byte(key))
	return int(binary.BigEndian.Uint64(sum[:]) % uint64(len(s.stubs)))
}

// For returns the shard that a key belongs to.
func (s *Set[T]) For(key string) dog.Stub[T] { return s.At(s.Index(key)) }

// At returns the shard with an index, or the zero Stub if there is none.
func (s *Set[T]) At(index int) dog.Stub[T] {
	if index < 0 || index >= s.Len() {
		return dog.Stub[T]{}
	}
	return s.stubs[index]
}

// Options select which shards to ask, and how many at a time.
type Options struct {
	Only        []int // indexes; nil: all
	Concurrency int   // 0: 16
}

// A Result is the result of one shard.
type Result[R any] struct {
	Shard int
	Value R
	// Err is the error of this shard. If the shard was not asked, it is the
	// cause of the context's end. If ask ended its goroutine, it is a
	// [dog.PanicError].
	Err error
}

// Ask calls ask for each shard, several at a time, and returns the results in
// the order of Only, or of the shards. If a shard fails, its error is in its
// Err. [Errors] joins them. In a handler Ask gives up the turn, and calls ask
// when the object's earlier writes are durable. Ask returns a [dog.UsageError]
// if a shard does not exist, the Set has none or ask is nil, the errors of
// [dog.Await], and the cause of ctx's end if ctx ended before any shard was
// asked.
func Ask[T, R any](
	ctx context.Context, s *Set[T], options Options, ask func(ctx context.Context, shard dog.Stub[T]) (R, error),
) ([]Result[R], error) {
	if ask == nil {
		return nil, &dog.UsageError{Op: "shard.Ask", Problem: "ask is nil"}
	}
	if s.Len() == 0 {
		return nil, &dog.UsageError{Op: "shard.Ask", Problem: "the Set was not made by New"}
	}
	which := options.Only
	if which == nil {
		which = make([]int, len(s.stubs))
		for i := range which {
			which[i] = i
		}
	}
	if i := slices.IndexFunc(which, func(i int) bool { return i < 0 || i >= len(s.stubs) }); i >= 0 {
		return nil, &dog.UsageError{Op: "shard", Problem: fmt.Sprintf("no shard %d of %d", which[i], len(s.stubs))}
	}
	atOnce := options.Concurrency
	if atOnce <= 0 {
		atOnce = 16
	}
	results := make([]Result[R], len(which))
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	err := dog.Await(ctx, func() error {
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
				results[i].Err = &dog.PanicError{} // unless ask returns
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
		if p := panicked.Load(); p != nil { // as if there were no goroutines
			panic(*p)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Errors joins the errors of results. It returns nil if there are none.
func Errors[R any](results []Result[R]) error {
	var all []error
	for _, r := range results {
		if r.Err != nil {
			all = append(all, fmt.Errorf("shard %d: %w", r.Shard, r.Err))
		}
	}
	return errors.Join(all...)
}
