// Package hookqueue calls hooks one at a time for each key, in the order in
// which they were added.
//
// Hooks are user code and may hang, so none is called by a goroutine that
// others need, and none may hold up other keys. The package does not know what
// a hook reports or what a key stands for. Package dog uses the IDs of objects,
// which stay the same when an object leaves memory and comes back.
package hookqueue

import "sync"

// maxWaiting is the maximum number of calls for a key that wait because a hook
// hangs, apart from calls whose caller cannot wait.
const maxWaiting = 1000

// shards is the number of locks that all keys share.
const shards = 64

// A Key is what the order of hooks depends on. Its first byte should be evenly
// distributed.
type Key = [32]byte

// A Queue is safe for concurrent use.
type Queue struct {
	spawn  func(func()) // runs a function in a goroutine. fixed
	shards [shards]struct {
		mu sync.Mutex // no other mutex is taken while it is held
		// waiting has an entry for each key with a running hook: the hooks to
		// call after it. guarded by mu
		waiting map[Key][]func()
	}
}

// New returns an empty Queue. spawn runs a function in a goroutine whose owner
// waits for it.
func New(spawn func(func())) *Queue { return &Queue{spawn: spawn} }

// A Call is a hook to be called by the goroutine that added it. nil means no
// hook.
type Call struct {
	queue *Queue
	key   Key
	hook  func()
	alone bool // no other hook runs for the key until this one returns
}

// Add queues a hook. free reports whether the caller may wait for the hook. If
// it may, Add may return a Call, which the caller must run soon. Otherwise
// another goroutine calls the hook.
func (q *Queue) Add(key Key, free bool, hook func()) *Call {
	shard := &q.shards[key[0]%shards]
	shard.mu.Lock()
	waits, busy := shard.waiting[key]
	switch {
	case busy && free && len(waits) >= maxWaiting:
		shard.mu.Unlock()
		return &Call{hook: hook}
	case busy:
		shard.waiting[key] = append(waits, hook)
		shard.mu.Unlock()
		return nil
	}
	if shard.waiting == nil {
		shard.waiting = make(map[Key][]func())
	}
	shard.waiting[key] = nil
	shard.mu.Unlock()
	c := &Call{q, key, hook, true}
	if free {
		return c
	}
	q.spawn(c.runAll)
	return nil
}

// Then makes c call a further hook after its own. It must not be called on nil.
func (c *Call) Then(hook func()) {
	first := c.hook
	c.hook = func() { first(); hook() }
}

// Run calls the hook. If other hooks were queued while it ran, another
// goroutine calls those.
func (c *Call) Run() {
	if c == nil {
		return
	}
	if c.alone {
		defer func() {
			if c.hook = c.queue.next(c.key); c.hook != nil {
				c.queue.spawn(c.runAll)
			}
		}()
	}
	c.hook()
}

// runAll calls the hook and the hooks queued while it runs.
func (c *Call) runAll() {
	for ; c.hook != nil; c.hook = c.queue.next(c.key) {
		c.hook()
	}
}

// next returns the key's next queued hook, or nil.
func (q *Queue) next(key Key) func() {
	shard := &q.shards[key[0]%shards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	waits := shard.waiting[key]
	if len(waits) == 0 {
		delete(shard.waiting, key)
		return nil
	}
	shard.waiting[key] = waits[1:]
	return waits[0]
}
