package group_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// boat is a replica that its clients command.
type boat struct{ dog.Replica }

func (b *boat) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
	switch m.String() {
	case "lock":
		return b.SetLocked(true)
	case "unlock":
		return b.SetLocked(false)
	case "store, lock and panic":
		if err := b.Storage().Put("locked", []byte("yes")); err != nil {
			return err
		}
		_ = b.SetLocked(true)
		panic("after the lock")
	case "abort":
		b.Abort(errors.New("as requested"))
	}
	return nil
}

// pier is the group of boats. A request for it locks the replica whose ID it
// has.
type pier struct{ dog.Group }

func (p *pier) Receive(w http.ResponseWriter, req *http.Request) error {
	var id dog.ID
	if err := id.UnmarshalText([]byte(req.FormValue("boat"))); err != nil {
		return err
	}
	return p.SetLocked(id, req.FormValue("locked") == "true")
}

// harbour is a runtime with one pier, and a server whose visitors board a boat.
type harbour struct {
	t    *testing.T
	rt   *dog.Runtime
	pier dog.GroupStub[pier, boat]
	srv  *dogtest.Server
}

func newHarbour(t *testing.T, options dog.Options, group dog.GroupOptions[pier]) *harbour {
	t.Helper()
	h := &harbour{t: t, rt: dogtest.New(t, options)}
	boats, err := dog.RegisterReplica[boat](h.rt, "boat", nil)
	require.NoError(t, err)
	piers, err := dog.RegisterGroup(h.rt, "pier", boats, &group)
	require.NoError(t, err)
	h.pier = piers.Named("north")
	h.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at, err := h.pier.Identify(req.Context(), req.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		at.ServeHTTP(w, req)
	}))
	return h
}

func (h *harbour) board(uid string) *dogtest.Client {
	h.t.Helper()
	c := h.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return c
}

// leave ends a connection and waits until its place is no longer used.
func (h *harbour) leave(c *dogtest.Client) {
	h.t.Helper()
	c.Close(1000, "")
	synctest.Wait()
}

// send sends a command and waits until it has been obeyed.
func (h *harbour) send(c *dogtest.Client, command string) {
	h.t.Helper()
	c.Send(command)
	synctest.Wait()
}

func (h *harbour) stats() []dog.ReplicaStats { return slices.Collect(h.pier.Replicas()) }

func (h *harbour) loads() []int {
	loads := []int{}
	for _, r := range h.stats() {
		loads = append(loads, r.Load)
	}
	return loads
}

// where returns the replica that Identify picks, without keeping the place.
func (h *harbour) where(uid string) dog.ID {
	h.t.Helper()
	at, err := h.pier.Identify(context.Background(), uid)
	require.NoError(h.t, err)
	at.Release()
	return at.ID()
}

func (h *harbour) refused(uid string) {
	h.t.Helper()
	_, err := h.pier.Identify(context.Background(), uid)
	require.ErrorIs(h.t, err, dog.ErrGroupFull)
}
