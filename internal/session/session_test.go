package session_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/session"
)

func nobody(uint64) {}

// A client that sends each message until it is confirmed has each take effect
// once, whatever is lost in between.
func TestSession_EachMessageTakesEffectOnce(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var b session.Book
		var durable, volatile []uint64 // effects
		s := b.Open("ada", 0, nobody, func() {})
		next := uint64(1)
		rt.Repeat(map[string]func(*rapid.T){
			"send": func(rt *rapid.T) {
				next = max(next, s.Handled()+1)
				for n := s.Handled() + 1; n <= next; n++ {
					if s.Begin(n) != session.Handle {
						continue
					}
					require.Equal(rt, session.Busy, s.Begin(n+1))
					volatile = append(volatile, n)
					s.End(n, true)
				}
				next++
			},
			"confirm": func(*rapid.T) {
				if len(volatile) > 0 {
					durable = append(durable, volatile...)
					s.Confirm(volatile[len(volatile)-1])
					volatile = nil
				}
			},
			"lose": func(*rapid.T) {
				volatile = nil
				s.Lost()
			},
			"reconnect": func(*rapid.T) {
				s.Close(10)
				s = b.Open("ada", 5, nobody, func() {})
			},
			"restart": func(*rapid.T) {
				s.Close(10)
				all := b.All(5, 10)
				b = session.Book{}
				for _, r := range all {
					b.Restore(r.Name, r.Handled, r.Until, 5)
				}
				volatile = nil
				s = b.Open("ada", 5, nobody, func() {})
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
	s := b.Open("ada", 0, nobody, func() {})
	for try := 1; try <= 3; try++ {
		require.Equal(t, session.Handle, s.Begin(7))
		require.Equal(t, try == 3, s.End(7, false))
	}
	require.Equal(t, session.Repeated, s.Begin(7))
	require.Equal(t, session.Handle, s.Begin(8))
}

func TestBook_ForgetsSessionsInTime(t *testing.T) {
	var b session.Book
	b.Open("stays", 0, nobody, func() {})
	for i := range 1000 {
		s := b.Open(fmt.Sprint(i), int64(i), nobody, func() {})
		s.Confirm(1)
		s.Close(int64(i) + 10)
	}
	require.Equal(t, 12, b.Len(999))
	require.Equal(t, 1, b.Len(2000))
	require.EqualValues(t, 0, b.Open("5", 2000, nobody, func() {}).Handled())
}

func TestBook_KeepsNothingOfASessionWithoutMessages(t *testing.T) {
	var b session.Book
	open := func(name string) *session.Link { return b.Open(name, 0, nobody, func() {}) }
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
