package history_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

const session = "&session=0123456789abcdef"

// counting is an owner that stores how many messages it has handled.
func counting() *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
			n, _, err := o.Storage().Get("n")
			if err != nil {
				return err
			}
			if m.String() == "count" {
				return s.Send(strconv.Itoa(len(n)))
			}
			if m.String() == "panic" {
				panic("as asked")
			}
			if err := o.Storage().Put("n", append(n, 'x')); err != nil {
				return err
			}
			if m.String() == "fail" {
				return errors.New("as asked")
			}
			return nil
		},
	}
}

func (c *client) ack() string {
	c.t.Helper()
	kind, rest := c.frame()
	require.Equal(c.t, "a", kind, rest)
	return rest
}

func TestOnce_MessageThatIsSentAgainIsNotHandledAgain(t *testing.T) {
	over(t, counting(), dog.Options{Store: disk.Memory()}, func(t *testing.T, v *fixture.Owners) {
		ada := dial(t, v.Server, "ada", session)
		require.Zero(t, ada.hello.In)
		for _, frame := range []string{"m1\na", "m2\nb", "m2\nb", "m1\na", "m5\nfail"} {
			ada.Send(frame)
		}
		for last := ""; last != "5"; {
			ack := ada.ack()
			require.GreaterOrEqual(t, ack, last)
			last = ack
		}
		ada.Vanish()
		again := dial(t, v.Server, "ada", session)
		require.EqualValues(t, 5, again.hello.In)
		again.Send("m5\nfail")
		again.Send("m6\nc")
		require.Equal(t, "5", again.ack())
		require.Equal(t, "6", again.ack())
		require.Equal(t, "4", again.handled())
		other := dial(t, v.Server, "ada", "&session=another-session")
		require.Zero(t, other.hello.In)
	})
}

// The hello comes before the acknowledgement of a message that the connection
// before has sent.
func TestOnce_NothingComesBeforeHello(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(t, kind, counting())
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\na")
		synctest.Wait()
		first := make(chan string, 1)
		go func() {
			options := dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}
			again, _, err := v.Server.TryDial("/?u=ada"+session, options)
			if err != nil {
				first <- err.Error()
				return
			}
			first <- again.Receive().String()
		}()
		synctest.Wait()
		engine.Flush()
		got := <-first
		require.Contains(t, got, `h{"v":1,`)
		require.Contains(t, got, `"in":1,`)
	})
}

// A message to a uid that comes while its client connects follows the hello.
func TestOnce_WhisperComesAfterHello(t *testing.T) {
	for _, c := range []struct {
		name, kind string
		options    []dog.SendOption
		want       int // messages after the hello
	}{
		{"an object", "an object", nil, 2},
		{"a replica", "a replica", nil, 1},
		{"a replica, transient", "a replica", []dog.SendOption{dog.Transient}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				require.Len(t, whisperToNewcomer(t, c.kind, c.options...), c.want)
			})
		})
	}
}

// whisperToNewcomer returns what a client gets after the hello if a message is
// sent to its uid while its connection waits until the disk has written.
func whisperToNewcomer(t *testing.T, kind string, options ...dog.SendOption) []dog.Message {
	put := func(o fixture.Owner) error { return o.Storage().Put("key", nil) }
	on := &fixture.OwnerHooks{
		History: kept, MaxSockets: 1,
		Start: func(_ context.Context, o fixture.Owner) error { return put(o) }, // ada's replica waits
		Message: func(ctx context.Context, _ fixture.Owner, s *dog.Socket, m dog.Message) error {
			_, err := s.Whisper(ctx, "ada", m, options...)
			return err
		},
	}
	if !fixture.IsReplica(kind) {
		on.MaxSockets = 2
		on.Message = func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
			_, err := fixture.Whisper(ctx, o, "ada", m)
			return errors.Join(err, put(o)) // ada waits, and the message with her
		}
	}
	v, engine := fixture.NewGatedOwners(t, kind, on)
	start, err := v.History("ada").Position()
	require.NoError(t, err)
	connected := make(chan *dogtest.Client, 1)
	connect := func(uid string) {
		options := dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}
		c, _, err := v.Server.TryDial("/?u="+uid+after(string(start)), options)
		if err != nil {
			t.Errorf("%s: %v", uid, err)
		}
		connected <- c
	}
	go connect("bob")
	synctest.Wait()
	engine.Flush()
	bob := <-connected
	if !fixture.IsReplica(kind) {
		bob.Send("m\nbefore") // to close the gate
		synctest.Wait()
		bob.Send("m\nhi")
		synctest.Wait()
	}
	go connect("ada")
	synctest.Wait()
	if fixture.IsReplica(kind) {
		bob.Send("m\nhi")
		synctest.Wait()
	}
	engine.Flush()
	ada := <-connected
	synctest.Wait()
	got := ada.Received()
	require.NotEmpty(t, got)
	require.Contains(t, got[0].String(), `h{"v":1,`)
	return got[1:]
}

// handled returns how many messages the owner has handled.
func (c *client) handled() string {
	c.t.Helper()
	c.Send("m\ncount")
	return c.message()
}

func TestOnce_MessageThatResetsItsObjectThreeTimesIsDropped(t *testing.T) {
	over(t, counting(), dog.Options{Store: disk.Memory()}, func(t *testing.T, v *fixture.Owners) {
		for range 3 {
			ada := dial(t, v.Server, "ada", session)
			ada.Send("m1\npanic")
			code, _ := ada.Closed()
			require.Equal(t, 1011, code)
		}
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\npanic")
		require.Equal(t, "1", ada.ack())
		ada.Send("m2\na")
		require.Equal(t, "2", ada.ack())
	})
}

// A crash takes back what was not durable, and its acknowledgement with it; a
// planned restart takes nothing back.
func TestOnce_AcrossRestarts(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		v := fixture.NewOwners(t, kind, dog.Options{Store: d}, counting())
		ada := dial(t, v.Server, "ada", session)
		for _, frame := range []string{"m1\na", "m2\nb", "m3\nc"} {
			ada.Send(frame)
			ada.ack()
		}
		d.Crash()
		v = fixture.NewOwners(t, kind, dog.Options{Store: d}, counting())
		ada = dial(t, v.Server, "ada", session)
		require.EqualValues(t, 3, ada.hello.In, "after a crash")
		ada.Send("m3\nc")
		require.Equal(t, "3", ada.ack())
		ada.Send("m4\nd")
		require.Equal(t, "4", ada.ack())
		ada.Vanish()
		synctest.Wait()
		require.NoError(t, v.Runtime.Shutdown(t.Context()))

		v = fixture.NewOwners(t, kind, dog.Options{Store: d}, counting())
		ada = dial(t, v.Server, "ada", session)
		require.EqualValues(t, 4, ada.hello.In, "after a planned restart")
		require.Equal(t, "4", ada.handled())
		ada.Vanish()
		synctest.Wait()
		require.NoError(t, v.Runtime.Shutdown(t.Context()))

		time.Sleep(time.Hour)
		v = fixture.NewOwners(t, kind, dog.Options{Store: d}, counting())
		ada = dial(t, v.Server, "ada", session)
		require.Zero(t, ada.hello.In, "it is forgotten in the end")
	})
}

func TestOnce_MalformedFramesCloseTheSocket(t *testing.T) {
	over(t, counting(), dog.Options{Store: disk.Memory()}, func(t *testing.T, v *fixture.Owners) {
		for _, frame := range []string{"", "\n", "M1\n", "m0\n", "m01\nx", "m1"} {
			c := dial(t, v.Server, "ada", "")
			c.Send(frame)
			code, _ := c.Closed()
			require.Equal(t, 4003, code, "%q", frame)
		}
		c := dial(t, v.Server, "ada", session)
		c.Send("z of a later version")
		c.Send("p")
		require.Equal(t, "q", c.Receive().String())
		c.Send("m1\nlast")
		require.Equal(t, "1", c.ack())
	})
}

func TestOnce_MalformedParametersAreRefused(t *testing.T) {
	over(t, counting(), dog.Options{Store: disk.Memory()}, func(t *testing.T, v *fixture.Owners) {
		for _, query := range []string{
			"after=x", "after=k3f7q2ab7c2d-b5", "after=-1", "session=", "session=short", "session=with%20a%20space",
			"after=k3f7q2ab7c2d-t18446744073709551616",
		} {
			_, resp, err := v.Server.TryDial("/?u=ada&"+query, dogtest.DialOptions{Subprotocols: []string{"dog.v1"}})
			require.Error(t, err)
			require.Equal(t, 400, resp.StatusCode, query)
		}
	})
}

// A message that cannot be stored for now is not acknowledged, however often it
// is tried.
func TestOnce_MessageThatCannotBeStoredIsHandledLater(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		v := fixture.NewOwners(t, kind, dog.Options{Store: d}, counting())
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\na")
		require.Equal(t, "1", ada.ack())
		d.Fill()
		time.Sleep(time.Minute)
		synctest.Wait() // the store has noticed
		for range 5 {
			ada.Send("m2\nb")
			code, _ := ada.Closed()
			require.Equal(t, 1013, code)
			ada = dial(t, v.Server, "ada", session)
			require.EqualValues(t, 1, ada.hello.In)
		}
		d.Free()
		time.Sleep(time.Minute)
		synctest.Wait()
		ada.Send("m2\nb")
		require.Equal(t, "2", ada.ack())
		require.Equal(t, "2", ada.handled())
	})
}
