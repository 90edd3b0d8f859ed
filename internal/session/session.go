// Package session remembers which messages of clients have been handled, so
// that a message that a client sends again takes effect once.
//
// A client numbers its messages. A [Book] has the greatest number of each
// client's session that was handled, for as long as the client is connected and
// for some time after. [Link.Note] and [Book.Save] store it, and [Book.Load]
// reads it. The package has no clock: times are passed to it. It does not know
// sockets, what messages are, or how they are handled.
package session

import "sync"

// maxTries is how often a message is handled that does not end.
const maxTries = 3

// A Book has the sessions of an object or a group. Its zero value is empty. It
// is safe for concurrent use.
type Book struct {
	mu     sync.Mutex
	byName map[string]*session // guarded by mu
	sweep  int                 // guarded by mu: number of sessions at which expired ones are removed
	stale  map[string]struct{} // guarded by mu: sessions that were forgotten and may be stored

	loading sync.Mutex // taken before mu
	loaded  bool       // see Load. guarded by loading
}

// A session is what is known of a client's messages. It is guarded by the mutex
// of its book. Many are idle, so it has nothing that only the busy need.
type session struct {
	name string // fixed

	first *Link // of its connections; nil: none is open
	until int64 // when the session is forgotten if no connection is open

	handled   uint64   // greatest number that was handled
	confirmed uint64   // greatest number that was handled for good
	busy      uint64   // the number that is being handled; 0: none
	failed    *failure // the number that failed last; nil: none did

	on any // that on which handled was handled
}

// A failure is how often the handling of a number failed.
type failure struct {
	number uint64
	tries  int
}

// A Link is a connection of a session.
type Link struct {
	*session
	book   *Book  // fixed
	client Client // fixed
	on     any    // fixed; the argument of Open
	next   *Link  // another connection of the session. Guarded by the mutex of the book

	// handles is set while a message of the connection is handled: from Begin
	// to the first End or Retry. Guarded by the mutex of the book.
	handles bool

	// refused is set when a message of the connection was not handled, and may
	// not have been handled elsewhere. Later ones must not be handled before
	// it, because the greatest number stands for all before. Guarded by the
	// mutex of the book.
	refused bool
}

// A Client is the other end of a connection. Its methods must not block.
type Client interface {
	// Acknowledge is called when messages have been confirmed: those up to
	// Handled.
	Acknowledge()
	// Again is called when a message that may have been Pending was not handled
	// by another connection, so that this one must be closed and the client
	// send it again.
	Again()
}

// A Verdict is what to do with a message.
type Verdict int

// The verdicts.
const (
	Handle   Verdict = iota // it is new: End must follow
	Repeated                // it is to be acknowledged
	Pending                 // it is being handled, or will be acknowledged by Confirm
	Busy                    // an earlier message of the session is being handled, or not yet confirmed, elsewhere
	Refused                 // an earlier message of the connection was not handled
)

// minSweep is the least number of sessions at which expired ones are removed.
const minSweep = 64

// Open begins a connection of a session. now is in Unix seconds. on stands for
// what handles the messages of the connection: those handled on the same one
// are confirmed in their order. Close must follow.
func (b *Book) Open(name string, now int64, on any, client Client) *Link {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.getLocked(name, now)
	s.first = &Link{session: s, book: b, client: client, on: on, next: s.first}
	return s.first
}

// Restore adds a session that had handled messages up to a number, and is to be
// remembered until a time.
func (b *Book) Restore(name string, handled uint64, until, now int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.getLocked(name, now)
	s.handled, s.confirmed = max(s.handled, handled), max(s.confirmed, handled)
	s.until = max(s.until, until)
}

func (b *Book) getLocked(name string, now int64) *session {
	if s := b.byName[name]; s != nil {
		return s
	}
	if b.byName == nil {
		b.byName = make(map[string]*session)
	}
	if len(b.byName) >= max(b.sweep, minSweep) {
		b.expireLocked(now)
		b.sweep = 2 * len(b.byName)
	}
	s := &session{name: name}
	b.byName[name] = s
	delete(b.stale, name)
	return s
}

func (b *Book) expireLocked(now int64) {
	for name, s := range b.byName {
		if s.first != nil || s.until >= now {
			continue
		}
		delete(b.byName, name)
		if s.handled > 0 {
			if b.stale == nil {
				b.stale = make(map[string]struct{})
			}
			b.stale[name] = struct{}{}
		}
	}
}

// Len returns the number of sessions that are connected or not yet forgotten.
func (b *Book) Len(now int64) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expireLocked(now)
	return len(b.byName)
}

// A Record is a session to be restored.
type Record struct {
	Name    string
	Handled uint64
	Until   int64
}

// All returns the sessions that have handled messages. Those that are connected
// are to be remembered until a time.
func (b *Book) All(now, until int64) (all []Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.expireLocked(now)
	for name, s := range b.byName {
		if s.confirmed == 0 {
			continue
		}
		r := Record{Name: name, Handled: s.confirmed, Until: s.until}
		if s.first != nil {
			r.Until = max(r.Until, until)
		}
		all = append(all, r)
	}
	return all
}

// Close ends the connection. The session is remembered until a time, unless
// none of its messages was handled, so that sessions without end leave nothing.
func (l *Link) Close(until int64) {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	for at := &l.first; *at != nil; at = &(*at).next {
		if *at == l {
			*at, l.next = l.next, nil
			break
		}
	}
	l.until = max(l.until, until)
	if l.first == nil && max(l.handled, l.confirmed, l.busy) == 0 && l.failed == nil {
		delete(l.book.byName, l.name)
	}
}

// Newest returns the client of the newest connection of the session, also after
// it was forgotten and opened again. It returns nil if none is open.
func (l *Link) Newest() Client {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	if s := l.book.byName[l.name]; s != nil && s.first != nil {
		return s.first.client
	}
	return nil
}

// Name returns the name of the session.
func (l *Link) Name() string { return l.name }

// Handled returns the greatest number that was handled for good.
func (l *Link) Handled() uint64 {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	return l.confirmed
}

// Begin begins the handling of a message. Once it has returned Busy or Refused,
// the connection is to be closed, and the client to send the message again over
// another one.
func (l *Link) Begin(number uint64) Verdict {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	switch {
	case number <= l.confirmed:
		return Repeated
	case l.refused:
		return Refused
	case number <= l.handled || number == l.busy:
		return Pending
	case l.busy != 0 || l.handled > l.confirmed && l.session.on != l.on:
		l.refused = true
		return Busy
	case l.failed != nil && l.failed.number == number && l.failed.tries >= maxTries:
		l.handled, l.confirmed = number, number
		return Repeated
	}
	l.busy, l.session.on, l.handles = number, l.on, true
	return Handle
}

// Refuse records that a message of the connection was not passed to Begin.
func (l *Link) Refuse() {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	l.refused = true
}

// refuseAllLocked has no connection handle anything more: to each of them, a
// message may have been Pending that is not handled now.
func (s *session) refuseAllLocked() {
	for l := s.first; l != nil; l = l.next {
		l.refused = true
	}
}

// End ends the handling of a message. ok is false if it failed in a way that
// leaves no effect, so that the message may be handled again. End reports
// whether it has failed as often as is allowed. If the handling has ended
// before, End does nothing: what is handled now is another connection's.
func (l *Link) End(number uint64, ok bool) (poison bool) {
	l.book.mu.Lock()
	ends := l.endsLocked()
	switch {
	case ends && ok:
		l.handled = max(l.handled, number)
	case ends:
		poison = l.failLocked(number)
	}
	l.book.mu.Unlock()
	if ends && !ok {
		l.againElsewhere()
	}
	return poison
}

// failLocked records that the handling of a message has failed.
func (l *Link) failLocked(number uint64) (poison bool) {
	l.refuseAllLocked()
	if l.failed == nil || l.failed.number != number {
		l.failed = &failure{number: number}
	}
	l.failed.tries++
	return l.failed.tries == maxTries
}

// endsLocked ends the handling of a message, unless it has ended before.
func (l *Link) endsLocked() (ends bool) {
	if !l.handles {
		return false
	}
	l.handles, l.busy = false, 0
	return true
}

func (s *session) linksLocked() (all []*Link) {
	for l := s.first; l != nil; l = l.next {
		all = append(all, l)
	}
	return all
}

// againElsewhere calls Again for the other connections of the session.
func (l *Link) againElsewhere() {
	l.book.mu.Lock()
	links := l.linksLocked()
	l.book.mu.Unlock()
	for _, other := range links {
		if other != l {
			other.client.Again()
		}
	}
}

// Retry ends the handling of a message that could not be handled for a reason
// that is not its own. It may be handled again, any number of times. Like End,
// it does nothing if the handling has ended before.
func (l *Link) Retry() {
	l.book.mu.Lock()
	ends := l.endsLocked()
	if ends {
		l.refuseAllLocked()
	}
	l.book.mu.Unlock()
	if ends {
		l.againElsewhere()
	}
}

// Confirm records that the effects of the messages up to a number are durable,
// and acknowledges them.
func (l *Link) Confirm(number uint64) {
	l.book.mu.Lock()
	l.confirmed = max(l.confirmed, number)
	links := l.linksLocked()
	l.book.mu.Unlock()
	for _, each := range links {
		each.client.Acknowledge()
	}
}

// Lost records that the effects of messages that were not confirmed are lost.
func (l *Link) Lost() {
	defer l.againElsewhere()
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	l.refuseAllLocked()
	l.handled = l.confirmed
}
