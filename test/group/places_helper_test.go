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

// placesReplica is a replica that its clients command.
type placesReplica struct{ dog.Replica }

func (b *placesReplica) OnMessage(_ context.Context, _ *dog.Socket, m dog.Message) error {
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

// placesGroup is a group. A request for it locks the replica whose ID it has.
type placesGroup struct{ dog.Group }

func (p *placesGroup) Receive(w http.ResponseWriter, req *http.Request) error {
	var id dog.ID
	if err := id.UnmarshalText([]byte(req.FormValue("replica"))); err != nil {
		return err
	}
	return p.SetLocked(id, req.FormValue("locked") == "true")
}

// places is a runtime with one group, and a server whose clients take places on
// its replicas.
type places struct {
	t     *testing.T
	rt    *dog.Runtime
	group dog.GroupStub[placesGroup, placesReplica]
	srv   *dogtest.Server
}

func newPlaces(t *testing.T, options dog.Options, group dog.GroupOptions[placesGroup]) *places {
	t.Helper()
	h := &places{t: t, rt: dogtest.New(t, options)}
	replicas, err := dog.RegisterReplica[placesReplica](h.rt, "replica", nil)
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(h.rt, "group", replicas, &group)
	require.NoError(t, err)
	h.group = groups.Named("north")
	h.srv = dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		at, err := h.group.Identify(req.Context(), req.FormValue("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		at.ServeHTTP(w, req)
	}))
	return h
}

func (h *places) connect(uid string) *dogtest.Client {
	h.t.Helper()
	c := h.srv.Dial("/?u=" + uid)
	synctest.Wait()
	return c
}

// leave ends a connection and waits until its place is no longer used.
func (h *places) leave(c *dogtest.Client) {
	h.t.Helper()
	c.Close(1000, "")
	synctest.Wait()
}

// send sends a command and waits until it has been obeyed.
func (h *places) send(c *dogtest.Client, command string) {
	h.t.Helper()
	c.Send(command)
	synctest.Wait()
}

func (h *places) stats() []dog.ReplicaStats { return slices.Collect(h.group.Replicas()) }

func (h *places) loads() []int {
	loads := []int{}
	for _, r := range h.stats() {
		loads = append(loads, r.Load)
	}
	return loads
}

// where returns the replica that Identify picks, without keeping the place.
func (h *places) where(uid string) dog.ID {
	h.t.Helper()
	at, err := h.group.Identify(context.Background(), uid)
	require.NoError(h.t, err)
	at.Release()
	return at.ID()
}

func (h *places) refused(uid string) {
	h.t.Helper()
	_, err := h.group.Identify(context.Background(), uid)
	require.ErrorIs(h.t, err, dog.ErrGroupFull)
}
