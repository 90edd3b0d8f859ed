package turn_test

import (
	"errors"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/outbox"
	"github.com/godurable/dog/shard"
)

// besides is the part of turnTable that is about packages outbox and shard,
// whose names go before those of their types and functions.
var besides = map[string]subject{
	"outbox.Queue": {object, map[string]any{
		"Attach":    try(func(b *trial) { b.note(b.queue.Attach(b.spare)) }),
		"Bind":      try(func(b *trial) { b.note(b.queue.Bind(&b.o.Object, outbox.Policy{})) }),
		"Cancel":    try(func(b *trial) { _, err := b.queue.Cancel(1); b.note(err) }),
		"Connected": try(func(b *trial) { b.queue.Connected() }),
		"Dead":      try(func(b *trial) { drain2(b.queue.Dead()) }),
		"Discard":   try(func(b *trial) { _, err := b.queue.Discard(1); b.note(err) }),
		"OnAlarm": tryInContext(func(b *trial) {
			b.put(outbox.TTL(time.Millisecond))
			b.note(b.queue.OnAlarm(b.ctx, dog.Alarm{Name: outbox.Alarm}))
		}),
		"Outcome": try(func(b *trial) {
			b.put(outbox.Key("k"))
			_, _, err := b.queue.Outcome("k")
			b.note(err)
		}),
		"Put":     try(func(b *trial) { b.put() }),
		"Requeue": try(func(b *trial) { _, _, err := b.queue.Requeue(1); b.note(err) }),
		"Status":  try(func(b *trial) { _, err := b.queue.Status(); b.note(err) }),
		"Waiting": try(func(b *trial) { drain2(b.queue.Waiting()) }),
	}},
	"outbox.": {object, map[string]any{
		"Ask":     mayWait{},
		"Key":     try(func(b *trial) { b.put(outbox.Key("k")) }),
		"Replace": try(func(b *trial) { b.put(outbox.Replace("r")) }),
		"TTL":     try(func(b *trial) { b.put(outbox.TTL(time.Hour)) }),
	}},
	"shard.Set": {object, map[string]any{
		"At":    try(func(b *trial) { b.shards.At(0) }),
		"For":   try(func(b *trial) { b.shards.For("k") }),
		"Index": try(func(b *trial) { b.shards.Index("k") }),
		"Len":   try(func(b *trial) { b.shards.Len() }),
	}},
	"shard.": {object, map[string]any{
		"Ask":    mayWait{},
		"Errors": try(func(*trial) { _ = shard.Errors([]shard.Result[int]{{Err: dog.ErrReset}}) }),
		"New":    try(func(b *trial) { _, err := shard.New(b.ns, "shards", 4); b.note(err) }),
	}},
}

// note notes an error that should not be.
func (b *trial) note(err error) { b.failed = errors.Join(b.failed, err) }

// put queues a command, for which there may be no room.
func (b *trial) put(options ...outbox.Option) {
	if _, err := b.queue.Put("x", options...); !errors.Is(err, outbox.ErrFull) {
		b.note(err)
	}
}
