package socket_test

import (
	"context"
	"errors"
	"testing"

	"github.com/godurable/dog"
	"github.com/godurable/dog/test/internal/fixture"
)

// recorder is owners that note what its sockets do.
type recorder struct {
	*fixture.Owners
	got    []string          // messages that reached OnMessage. owned by the turn, like the others
	errors []*dog.CloseError // arguments of OnError
	closes []int             // codes that OnClose got
	ends   []string          // which of the two ran, in order
}

func newRecorder(t *testing.T, kind string, options dog.Options) *recorder {
	t.Helper()
	d := &recorder{}
	d.Owners = fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{
		Message: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, m dog.Message) error {
			d.got = append(d.got, m.String())
			return nil
		},
		Error: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, cause error) error {
			var end *dog.CloseError
			if !errors.As(cause, &end) {
				return errors.New("not a CloseError")
			}
			d.errors = append(d.errors, end)
			d.ends = append(d.ends, "error")
			return nil
		},
		Close: func(_ context.Context, _ fixture.Owner, _ *dog.Socket, code int, _ string) error {
			d.closes = append(d.closes, code)
			d.ends = append(d.ends, "close")
			return nil
		},
	})
	return d
}
