package socket_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

func TestSocket_OnCloseRunsOnceForEverySocket(t *testing.T) {
	type end struct {
		how    func(t *testing.T, v *fixture.Owners, c *dogtest.Client)
		failed string // the text of OnError; "": it does not run
		closed string // the text of OnClose
		code   int    // that the client gets; 0: none
	}
	broken := errors.New("broken")
	for name, e := range map[string]end{
		"the client closes": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Close(4001, "bye") },
			closed: "closed 4001 bye",
		},
		"the client vanishes": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Vanish() },
			failed: "failed 1006", closed: "closed 1006 ",
		},
		"the client breaks the protocol": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.SendRaw([]byte{0xff, 0xff}) },
			failed: "failed 1002", closed: "closed 1002 ", code: 1002,
		},
		"the client sends too much": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Send(strings.Repeat("x", 70_000)) },
			failed: "failed 1009", closed: "closed 1009 ", code: 1009,
		},
		"the client is silent": {
			how:    func(_ *testing.T, v *fixture.Owners, c *dogtest.Client) { time.Sleep(time.Minute) },
			failed: "failed 1006", closed: "closed 1006 ", code: 1006,
		},
		"a handler closes": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Send("close") },
			closed: "closed 4002 enough", code: 4002,
		},
		"the uid is disconnected": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Send("disconnect") },
			closed: "closed 4003 out", code: 4003,
		},
		"a handler panics": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Send("panic") },
			closed: "closed 1011 ", code: 1011,
		},
		"a handler aborts": {
			how:    func(_ *testing.T, _ *fixture.Owners, c *dogtest.Client) { c.Send("abort") },
			closed: "closed 1011 ", code: 1011,
		},
		"aborted from outside": {
			how:    func(t *testing.T, v *fixture.Owners, _ *dogtest.Client) { require.NoError(t, v.Abort(broken)) },
			closed: "closed 1011 ", code: 1011,
		},
		"deleted": {
			how: func(t *testing.T, v *fixture.Owners, _ *dogtest.Client) {
				require.NoError(t, v.Delete(t.Context()))
			},
			closed: "closed 1011 ", code: 1011,
		},
		"shutdown": {
			how: func(t *testing.T, v *fixture.Owners, _ *dogtest.Client) {
				require.NoError(t, v.Runtime.Shutdown(t.Context()))
			},
			closed: "closed 1001 server shutting down", code: 1001,
		},
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachOwner(t, func(t *testing.T, kind string) {
				var did fixture.Lines
				on := &fixture.OwnerHooks{
					Open: func(_ context.Context, _ fixture.Owner, s *dog.Socket) error {
						return did.Add("opened %s", s.UID())
					},
					Message: func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
						switch m.String() {
						case "close":
							return errors.Join(s.Close(4002, "enough"), s.Close(4009, "again"))
						case "disconnect":
							_, err := fixture.Disconnect(ctx, o, s.UID(), 4003, "out")
							return err
						case "panic":
							panic("a bug")
						case "abort":
							o.Abort(broken)
						}
						return did.Add("got %d bytes", len(m.Data))
					},
					Error: func(_ context.Context, o fixture.Owner, s *dog.Socket, cause error) error {
						var how *dog.CloseError
						require.ErrorAs(t, cause, &how)
						for range o.Sockets() {
							return did.Add("a socket that has failed is still there")
						}
						return errors.Join(
							did.Add("failed %d", how.Code), errors.New("OnError fails, and OnClose runs"),
						)
					},
					Close: func(_ context.Context, o fixture.Owner, s *dog.Socket, code int, reason string) error {
						require.ErrorIs(t, s.Send("late"), dog.ErrSocketClosed)
						for range o.SocketsOf(s.UID()) {
							return did.Add("a socket that has closed is still there")
						}
						return did.Add("closed %d %s", code, reason)
					},
				}
				v := fixture.NewOwners(t, kind, dog.Options{}, on)
				silent := name == "the client is silent"
				c, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{OnDemand: silent})
				require.NoError(t, err)
				synctest.Wait()
				require.Equal(t, []string{"opened ada"}, did.Take())
				e.how(t, v, c)
				synctest.Wait()
				if silent {
					c.Vanish()
				} else if e.code != 0 {
					code, _ := c.Closed()
					require.Equal(t, e.code, code)
				}
				fixture.Elapse(time.Minute)
				got := did.Take()
				want := []string{e.closed}
				if e.failed != "" && fixture.HasReceive(kind) {
					want = []string{e.failed, e.closed}
				}
				if name == "a handler aborts" {
					want = append([]string{"got 5 bytes"}, want...)
				}
				for i := range got { // reasons of failures are the library's own words
					if e.failed != "" && i < len(want) && strings.HasPrefix(got[i], want[i]) {
						got[i] = want[i]
					}
				}
				require.Equal(t, want, got)
				require.Zero(t, v.Runtime.Stats().Sockets)
			})
		})
	}
}

func TestSocket_OnOpenThatFailsClosesItsSocket(t *testing.T) {
	fixture.ForEachOwner(t, func(t *testing.T, kind string) {
		var did fixture.Lines
		v := fixture.NewOwners(t, kind, dog.Options{}, &fixture.OwnerHooks{
			Open: func(context.Context, fixture.Owner, *dog.Socket) error { return errors.New("not you") },
			Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
				return did.Add("closed %d", code)
			},
		})
		c := v.Enter("ada")
		code, _ := c.Closed()
		require.Equal(t, 1011, code)
		synctest.Wait()
		require.Equal(t, []string{"closed 1011"}, did.Take())
	})
}
