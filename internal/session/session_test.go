package session_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/session"
)

// deaf is a client that nothing reaches.
type deaf struct{}

func (deaf) Acknowledge() {}
func (deaf) Again()       {}

// A connection of a client that sends its messages in order, from the first
// that was not confirmed when it was opened, and goes on sending when it should
// be closed.
type connection struct {
	*session.Link
	next uint64
}

// The messages of a client take effect once and in order, over several
// connections at the same time, whatever fails or is lost in between.
func TestSession_EachMessageTakesEffectOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var b session.Book
		var durable, volatile []uint64 // effects
		var handling *connection       // whose last message is being handled
		var open []*connection
		failures := make(map[uint64]int)
		connect := func() {
			l := b.Open("ada", 0, nil, deaf{})
			open = append(open, &connection{l, l.Handled() + 1})
		}
		connect()
		end := func(how func(l *session.Link, number uint64)) func(*rapid.T) {
			return func(rt *rapid.T) {
				if handling == nil {
					rt.Skip()
				}
				how(handling.Link, handling.next-1)
				handling = nil
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"connect": func(*rapid.T) { connect() },
			"send": func(rt *rapid.T) {
				c := rapid.SampledFrom(open).Draw(rt, "connection")
				if c == handling { // it reads nothing until then
					rt.Skip()
				}
				if c.Begin(c.next) == session.Handle {
					require.Nil(rt, handling)
					handling = c
				}
				c.next++
			},
			"end": end(func(l *session.Link, number uint64) {
				volatile = append(volatile, number)
				l.End(number, true)
			}),
			"fail": func(rt *rapid.T) {
				if handling == nil || failures[handling.next-1] == 2 { // the third time, it is dropped
					rt.Skip()
				}
				failures[handling.next-1]++
				end(func(l *session.Link, number uint64) { l.End(number, false) })(rt)
			},
			"retry": end(func(l *session.Link, _ uint64) { l.Retry() }),
			"confirm": func(rt *rapid.T) {
				if len(volatile) == 0 {
					rt.Skip()
				}
				durable = append(durable, volatile...)
				open[0].Confirm(volatile[len(volatile)-1])
				volatile = nil
			},
			"lose": func(rt *rapid.T) {
				if handling != nil {
					rt.Skip()
				}
				volatile = nil
				open[0].Lost()
			},
			"disconnect": func(rt *rapid.T) {
				if len(open) < 2 || open[0] == handling {
					rt.Skip()
				}
				open[0].Close(10)
				open = open[1:]
			},
			"restart": func(rt *rapid.T) {
				if handling != nil {
					rt.Skip()
				}
				all := b.All(5, 10)
				b = session.Book{}
				for _, r := range all {
					b.Restore(r.Name, r.Handled, r.Until, 5)
				}
				volatile, open = nil, nil
				connect()
			},
			"": func(rt *rapid.T) {
				for i, n := range durable {
					require.EqualValues(rt, i+1, n)
				}
			},
		})
	})
}

func TestSession_MessageThatNeverEndsIsDropped(t *testing.T) {
	var b session.Book
	for try := 1; try <= 3; try++ {
		l := b.Open("ada", 0, nil, deaf{})
		require.Equal(t, session.Handle, l.Begin(7))
		require.Equal(t, try == 3, l.End(7, false))
		require.Equal(t, session.Refused, l.Begin(8))
	}
	l := b.Open("ada", 0, nil, deaf{})
	require.Equal(t, session.Repeated, l.Begin(7))
	require.Equal(t, session.Handle, l.Begin(8))
}

func TestBook_ForgetsSessionsInTime(t *testing.T) {
	var b session.Book
	b.Open("stays", 0, nil, deaf{})
	for i := range 1000 {
		s := b.Open(fmt.Sprint(i), int64(i), nil, deaf{})
		s.Confirm(1)
		s.Close(int64(i) + 10)
	}
	require.Equal(t, 12, b.Len(999))
	require.Equal(t, 1, b.Len(2000))
	require.EqualValues(t, 0, b.Open("5", 2000, nil, deaf{}).Handled())
}

func TestBook_KeepsNothingOfASessionWithoutMessages(t *testing.T) {
	var b session.Book
	open := func(name string) *session.Link { return b.Open(name, 0, nil, deaf{}) }
	open("empty").Close(10)
	require.Zero(t, b.Len(5))

	first, second := open("two"), open("two")
	first.Close(10)
	require.Equal(t, 1, b.Len(5), "it has another connection")
	require.Equal(t, session.Handle, second.Begin(1))
	second.End(1, true)
	second.Close(10)
	open("two").Confirm(1)
	require.EqualValues(t, 1, open("two").Handled())

	waits := open("waits")
	require.Equal(t, session.Handle, waits.Begin(1))
	waits.Close(10)
	require.Equal(t, session.Pending, open("waits").Begin(1), "it is being handled")

	for range 3 {
		failed := open("failed")
		require.Equal(t, session.Handle, failed.Begin(7))
		failed.End(7, false)
		failed.Close(10)
	}
	require.Equal(t, session.Repeated, open("failed").Begin(7), "it was tried three times")
}

// What another replica has handled is confirmed in no order with what follows.
func TestSession_MessageWaitsForThoseHandledElsewhere(t *testing.T) {
	var b session.Book
	first, second := b.Open("ada", 0, "a replica", deaf{}), b.Open("ada", 0, "another", deaf{})
	require.Equal(t, session.Handle, first.Begin(1))
	first.End(1, true)
	require.Equal(t, session.Pending, second.Begin(1))
	require.Equal(t, session.Busy, second.Begin(2), "2 could be confirmed before 1 is durable")
	require.Equal(t, session.Handle, first.Begin(2))
	first.End(2, true)
	first.Confirm(2)
	third := b.Open("ada", 0, "another", deaf{})
	require.Equal(t, session.Repeated, third.Begin(2))
	require.Equal(t, session.Handle, third.Begin(3))
}

// What is handled may be given up, and be handled over another connection,
// before it has really ended.
func TestSession_EndOfWhatHasBeenGivenUpDoesNothing(t *testing.T) {
	var b session.Book
	first := b.Open("ada", 0, nil, deaf{})
	require.Equal(t, session.Handle, first.Begin(1))
	require.False(t, first.End(1, false))
	second := b.Open("ada", 0, nil, deaf{})
	require.Equal(t, session.Handle, second.Begin(1))
	first.End(1, true)
	first.End(1, false)
	first.Retry()
	require.Equal(t, session.Busy, b.Open("ada", 0, nil, deaf{}).Begin(2), "1 is still being handled")
	second.End(1, true)
	require.Equal(t, session.Handle, second.Begin(2), "nothing has failed on its connection")
}

// A client that has sent nothing leaves nothing, so its next connection begins
// the session again.
func TestLink_NewestIsFoundByTheNameOfTheSession(t *testing.T) {
	var b session.Book
	first := b.Open("ada", 0, nil, listener("first"))
	require.Equal(t, listener("first"), first.Newest())
	second := b.Open("ada", 0, nil, listener("second"))
	require.Equal(t, listener("second"), first.Newest())
	second.Close(0)
	require.Equal(t, listener("first"), second.Newest())
	first.Close(0)
	require.Nil(t, first.Newest())
	third := b.Open("ada", 0, nil, listener("third"))
	require.Equal(t, listener("third"), first.Newest())
	third.Close(0)
}

// A listener is a client with a name.
type listener string

func (listener) Acknowledge() {}
func (listener) Again()       {}
