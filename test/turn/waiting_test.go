package turn_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A slowGateway is a group whose Gateway takes its time.
type slowGateway struct{ dog.Group }

// Identify keeps the turn for a second.
func (d *slowGateway) Identify(r *http.Request) (string, error) {
	time.Sleep(time.Second)
	return r.FormValue("u"), nil
}

// Gossip asks all guests.
func (d *slowGateway) Gossip(ctx context.Context) ([]dog.Reply, error) {
	return d.Group.Gossip(ctx, "still awake?")
}

// A guest is a replica that takes its time over gossip.
type guest struct{ dog.Replica }

// OnGossip keeps the turn for a second.
func (g *guest) OnGossip(context.Context, dog.Message) (any, error) {
	time.Sleep(time.Second)
	return "yes", nil
}

// Receive accepts any request.
func (g *guest) Receive(http.ResponseWriter, *http.Request) error { return nil }

// One event runs, one waits, and the third is refused.
func TestMaxWaiting_HoldsForWhatAGroupAsks(t *testing.T) {
	type house struct {
		main dog.GroupStub[slowGateway, guest]
		srv  *dogtest.Server
	}
	for name, event := range map[string]func(t *testing.T, h house) (refused bool){
		"the Identify of a Gateway": func(t *testing.T, h house) bool {
			answer, err := h.srv.Client().Get(dogtest.URL + "/?u=ada")
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			return answer.StatusCode == http.StatusServiceUnavailable
		},
		"gossip": func(t *testing.T, h house) bool {
			replies, err := h.main.Gossip(context.Background(), "still awake?")
			require.NoError(t, err)
			require.Len(t, replies, 1)
			if replies[0].Err != nil {
				require.ErrorIs(t, replies[0].Err, dog.ErrOverloaded)
				return true
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rt := dogtest.New(t, dog.Options{MaxWaiting: 1})
				guests, err := dog.RegisterReplica[guest](rt, "guest", nil)
				require.NoError(t, err)
				doors, err := dog.RegisterGroup(rt, "door", guests, &dog.GroupOptions[slowGateway]{Limit: 10})
				require.NoError(t, err)
				h := house{main: doors.Named("main")}
				h.srv = dogtest.Serve(t, h.main)
				stub, err := h.main.Identify(t.Context(), "ada")
				require.NoError(t, err)
				defer stub.Release()
				outcomes := make(chan bool, 3)
				for range 3 {
					go func() { outcomes <- event(t, h) }()
					synctest.Wait()
				}
				require.True(t, <-outcomes, "the last one")
				require.False(t, <-outcomes)
				require.False(t, <-outcomes)
			})
		})
	}
}
