package dogtest_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// till counts the messages that it gets, in storage, and repeats them to all.
type till struct{ dog.Object }

func (o *till) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	switch text := m.String(); text {
	case "panic":
		panic("as the test asks for")
	case "count":
		n, _, err := dog.Get[int](o.Storage(), "n")
		if err != nil {
			return err
		}
		return s.Send(strconv.Itoa(n))
	}
	if _, err := dog.Update(o.Storage(), "n", func(n int) (int, error) { return n + 1, nil }); err != nil {
		return err
	}
	return o.Broadcast(m)
}

func (o *till) Fill(context.Context) error {
	for range 1000 {
		if err := o.Broadcast(strings.Repeat("x", 4000)); err != nil {
			return err
		}
	}
	return nil
}

// inTill runs a test of a till, which keeps ten messages.
func inTill(t *testing.T, f func(t *testing.T, srv *dogtest.Server, till dog.Stub[till])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tills, err := dog.RegisterObject(dogtest.New(t, dog.Options{}), "till", &dog.ObjectOptions[till]{
			History: dog.HistoryOptions{Count: 10, Bytes: 1 << 20},
		})
		require.NoError(t, err)
		f(t, dogtest.Serve(t, tills.Named("main")), tills.Named("main"))
	})
}

func TestV1_ResumesWhereItWas(t *testing.T) {
	inTill(t, func(t *testing.T, srv *dogtest.Server, _ dog.Stub[till]) {
		ada, bob := srv.DialV1("/?x=y", dogtest.V1Options{}), srv.DialV1("/", dogtest.V1Options{})
		require.Equal(t, dog.GapFirst, ada.Hello.Gap)
		ada.Acknowledged(ada.Send("1"))
		require.Equal(t, "1", ada.Receive().String())
		require.Greater(t, ada.Position(), ada.Hello.Position)
		ada.Vanish()
		for _, text := range []any{"2", []byte("3")} {
			bob.Acknowledged(bob.Send(text))
		}
		require.Len(t, bob.Received(), 3)

		again := ada.Again()
		require.Empty(t, again.Hello.Gap)
		require.EqualValues(t, 1, again.Hello.Handled)
		require.Equal(t, "2", again.Receive().String())
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte("3")}, again.Receive())
		require.Equal(t, bob.Position(), again.Position())
		require.EqualValues(t, 2, again.Send("4"))

		all := srv.DialV1("/", dogtest.V1Options{After: new(dog.Position("")), Session: "a-session-of-eve"})
		synctest.Wait()
		require.Len(t, all.Received(), 4)
		all.Close(1000, "bye")
	})
}

// What was handled and not acknowledged takes effect once.
func TestV1_SendsAgainWhatWasNotHandled(t *testing.T) {
	inTill(t, func(t *testing.T, srv *dogtest.Server, _ dog.Stub[till]) {
		ada := srv.DialV1("/", dogtest.V1Options{})
		ada.Send("1")
		synctest.Wait()
		ada.Vanish() // before it has read the acknowledgement
		again := ada.Again()
		again.Acknowledged(1)
		again.Send("panic")
		code, _ := again.Closed()
		require.Equal(t, 1011, code)
		again.Send("2")
		third := again.Again()
		code, _ = third.Closed()
		require.Equal(t, 1011, code, "it has sent the message again")
		fourth := third.Again()
		code, _ = fourth.Closed()
		require.Equal(t, 1011, code)
		fifth := fourth.Again()
		fifth.Acknowledged(3)
		require.EqualValues(t, 4, fifth.Send("count"))
		for m := fifth.Receive(); m.String() != "2"; m = fifth.Receive() {
			require.Equal(t, "1", m.String())
		}
		require.Equal(t, "2", fifth.Receive().String(), "the count")
	})
}

func TestV1_ReceivesGaps(t *testing.T) {
	inTill(t, func(t *testing.T, srv *dogtest.Server, main dog.Stub[till]) {
		ada := srv.DialV1("/", dogtest.V1Options{DialOptions: dogtest.DialOptions{OnDemand: true}})
		ada.Send("1")
		synctest.Wait() // until it is sent, so that no gap takes its place
		for range 3 {
			require.NoError(t, dog.CallErr0(t.Context(), main, (*till).Fill))
		}
		require.Equal(t, "1", ada.Receive().String())
		before := ada.Position()
		ada.Vanish()
		again := ada.Again()
		require.Equal(t, dog.GapExpired, again.Hello.Gap)
		require.Greater(t, again.Position(), before)

		slow := srv.DialV1("/", dogtest.V1Options{DialOptions: dogtest.DialOptions{OnDemand: true}})
		for range 3 {
			require.NoError(t, dog.CallErr0(t.Context(), main, (*till).Fill))
		}
		gap := slow.ReceiveGap()
		require.Equal(t, dog.GapSlow, gap.Reason)
		require.Equal(t, gap.To, slow.Position())
		require.Less(t, gap.From, gap.To)
	})
}
