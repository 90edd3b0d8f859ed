package conn

import "slices"

// Policy determines what happens to a connection whose peer does not read its
// messages fast enough.
type Policy uint8

const (
	// Disconnect closes the connection with 1008 if a message does not fit into
	// the queue.
	Disconnect Policy = iota
	// DropOldest drops the oldest queued messages until the new one fits. A
	// message that cannot fit next to the data currently being written is
	// itself dropped.
	DropOldest
	// Coalesce replaces a queued message that has the same key. The new message
	// goes to the end of the queue. If it still does not fit, the connection is
	// closed with 1008.
	Coalesce
	// CatchUp has the peer read messages that are kept from the history once
	// they do not fit. Other messages are treated as by Disconnect.
	CatchUp
)

// keepItems is the capacity that an empty queue keeps: enough for the usual one
// or two messages, nothing for idle connections.
const keepItems = 8

type item struct {
	frame *Frame
	key   string
	after uint64 // messages of the history up to this offset come first
}

// queue holds data frames that no writer has claimed. It is not safe for
// concurrent use. Its zero value is empty.
type queue struct {
	items []item // items[:head] have been removed
	head  int
	bytes int // sum of the lengths of items[head:]
}

// offered is the result of queue.offer.
type offered struct {
	overflow           bool // the policy requires closing the connection
	dropped, coalesced int
}

// offer adds an item according to the policy. room is the number of bytes that
// the queue may hold.
func (q *queue) offer(it item, policy Policy, room int) (res offered) {
	if policy == Coalesce && it.key != "" && q.remove(it.key) {
		res.coalesced = 1
	}
	if q.bytes+it.frame.Len() > room {
		switch {
		case policy != DropOldest:
			res.overflow = true
			return res
		case it.frame.Len() > room:
			res.dropped = 1
			return res
		}
		for q.bytes+it.frame.Len() > room {
			q.pop()
			res.dropped++
		}
	}
	q.push(it)
	return res
}

func (q *queue) len() int { return len(q.items) - q.head }

func (q *queue) push(it item) {
	// Once most of the array is unused, move the items down instead of growing,
	// so that each item is moved a bounded number of times.
	if len(q.items) == cap(q.items) && q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, it)
	q.bytes += it.frame.Len()
}

// peek returns the oldest item. The queue must not be empty.
func (q *queue) peek() item { return q.items[q.head] }

// pop removes the oldest item. The queue must not be empty.
func (q *queue) pop() item {
	it := q.items[q.head]
	q.items[q.head] = item{}
	q.head++
	q.bytes -= it.frame.Len()
	if q.len() == 0 {
		q.clear()
	}
	return it
}

// unshift adds an item that comes before all others.
func (q *queue) unshift(it item) {
	q.items = slices.Insert(q.items, q.head, it)
	q.bytes += it.frame.Len()
}

// remove removes the first item with key. It takes time linear in the length of
// the queue.
func (q *queue) remove(key string) bool {
	waiting := q.items[q.head:]
	i := slices.IndexFunc(waiting, func(it item) bool { return it.key == key })
	if i < 0 {
		return false
	}
	q.bytes -= waiting[i].frame.Len()
	q.items = slices.Delete(q.items, q.head+i, q.head+i+1)
	if q.len() == 0 {
		q.clear()
	}
	return true
}

func (q *queue) clear() {
	clear(q.items)
	q.items, q.head, q.bytes = q.items[:0], 0, 0
	if cap(q.items) > keepItems {
		q.items = nil
	}
}

// shrink releases the array of an empty queue.
func (q *queue) shrink() {
	if q.len() == 0 {
		*q = queue{}
	}
}
