// Package list has an intrusive doubly linked list, which costs no allocation:
// what is in a list has a [Node] for it.
//
// It does not know what is in a list, or what the order means.
package list

// Node is a hook for its owner, which is in at most one list through it.
type Node[T any] struct {
	prev, next *Node[T]
	Owner      *T // fixed
}

// Next returns the next node, nil if there is none.
func (n *Node[T]) Next() *Node[T] { return n.next }

// List is a list of nodes. The zero value is empty.
type List[T any] struct {
	head, tail *Node[T]
}

// Head returns the first node, nil if the list is empty.
func (l *List[T]) Head() *Node[T] { return l.head }

// Has reports whether n, which must be in no other list, is in l.
func (l *List[T]) Has(n *Node[T]) bool { return n.prev != nil || l.head == n }

// Push appends a node that is in no list.
func (l *List[T]) Push(n *Node[T]) {
	n.prev, n.next = l.tail, nil
	if l.tail == nil {
		l.head = n
	} else {
		l.tail.next = n
	}
	l.tail = n
}

// Remove removes a node, which must be in no other list, if it is in l.
func (l *List[T]) Remove(n *Node[T]) {
	if !l.Has(n) {
		return
	}
	if n.prev == nil {
		l.head = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		l.tail = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.prev, n.next = nil, nil
}
