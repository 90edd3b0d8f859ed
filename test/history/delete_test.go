package history_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Who waits for messages over HTTP learns of the deletion when it happens.
func TestHistory_DeleteIsReportedToReadersThatWait(t *testing.T) {
	over(t, &fixture.OwnerHooks{History: kept}, dog.Options{}, func(t *testing.T, v *fixture.Owners) {
		if v.Objects == nil {
			return // the history is that of the group, which Delete leaves alone
		}
		srv := serveHistory(t, v, nil)
		require.NoError(t, v.Broadcast(t.Context(), "secret"))
		first, _ := get(t, srv, "/?offset=now")
		began := time.Now()
		status := make(chan int)
		go func() {
			response, _ := get(t, srv, "/?live=long-poll&offset="+next(first))
			status <- response.StatusCode
		}()
		synctest.Wait()
		require.NoError(t, v.Delete(t.Context()))
		require.Equal(t, http.StatusGone, <-status)
		require.Zero(t, time.Since(began))
	})
}

// What a group deletes of itself is also its history, and nothing else is.
func TestHistory_DeleteOfAGroupEndsIt(t *testing.T) {
	for _, durably := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable: %v", durably), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := dogtest.NewDisk(t)
				var party *silentGroups
				srv := dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					party.serve(w, r)
				}))
				restart := func() {
					synctest.Wait()
					require.NoError(t, party.rt.Shutdown(t.Context()))
					party = newSilentGroups(t, d, durably)
				}
				party = newSilentGroups(t, d, durably)
				all := dog.Position("")
				ada := srv.DialV1("/?u=ada&g=main", dogtest.V1Options{After: &all})
				other := srv.DialV1("/?u=ada&g=other", dogtest.V1Options{After: &all})
				for _, group := range []string{"main", "other"} {
					require.NoError(t, party.groups.Named(group).Broadcast(t.Context(), "secret"))
				}
				require.Equal(t, "secret", ada.Receive().String())
				require.Equal(t, "secret", other.Receive().String())
				require.NoError(t, party.groups.Named("main").Delete(t.Context()))
				eve := srv.DialV1("/?u=eve&g=main", dogtest.V1Options{After: &all})
				requireGot(t, eve)
				ada = ada.Again()
				require.Equal(t, dog.GapEpoch, ada.Hello.Gap)
				require.NoError(t, party.groups.Named("main").Broadcast(t.Context(), "new"))
				require.Equal(t, "new", ada.Receive().String())
				for range 2 {
					restart()
					require.Empty(t, ada.Again().Hello.Gap)
					require.Empty(t, other.Again().Hello.Gap)
					eve = srv.DialV1("/?u=eve&g=main", dogtest.V1Options{After: &all})
					requireGot(t, eve, "new")
				}
				require.NoError(t, party.groups.Named("main").Delete(t.Context()))
				restart()
				eve = srv.DialV1("/?u=eve&g=main", dogtest.V1Options{After: &all})
				requireGot(t, eve)
				require.Equal(t, dog.GapEpoch, ada.Again().Hello.Gap)
				require.Empty(t, other.Again().Hello.Gap)
			})
		})
	}
}

// silentGroups are groups whose clients say nothing. The group is in the
// parameter g of the query and the uid in u.
type silentGroups struct {
	rt     *dog.Runtime
	groups *dog.Groups[silentGroup, dog.Replica]
}

type silentGroup struct{ dog.Group }

// Write stores a text.
func (s *silentGroup) Write(_ context.Context, text string) error {
	return s.Storage().Put("text", []byte(text))
}

func newSilentGroups(t *testing.T, store dog.Store, durably bool) *silentGroups {
	rt := dogtest.New(t, dog.Options{Store: store})
	replicas, err := dog.RegisterReplica[dog.Replica](rt, "member", nil)
	require.NoError(t, err)
	groups, err := dog.RegisterGroup(rt, "silentGroup", replicas, &dog.GroupOptions[silentGroup]{
		Limit: 10, History: dog.HistoryOptions{Count: 100, Age: time.Hour, Durable: durably},
	})
	require.NoError(t, err)
	return &silentGroups{rt, groups}
}

func (s *silentGroups) serve(w http.ResponseWriter, r *http.Request) {
	stub, err := s.groups.Named(r.FormValue("g")).Identify(r.Context(), r.FormValue("u"))
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	stub.ServeHTTP(w, r)
}

func TestHistory_DeleteEndsIt(t *testing.T) {
	for _, kind := range kinds[:1] {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, on := dogtest.NewDisk(t), &fixture.OwnerHooks{History: dog.HistoryOptions{Age: time.Hour}}
				start := func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) }
				v := start()
				ada := dial(t, v.Server, "ada", "")
				require.NoError(t, v.Broadcast(t.Context(), "secret"))
				require.Equal(t, "secret", ada.message())
				require.NoError(t, v.Delete(t.Context()))
				eve := dial(t, v.Server, "eve", "&after=")
				synctest.Wait()
				require.Empty(t, eve.messages())
				ada = dial(t, v.Server, "ada", after(ada.pos))
				require.Equal(t, "epoch", ada.hello.Gap)
				restart(t, v)
				v = start()
				eve = dial(t, v.Server, "eve", "&after=")
				synctest.Wait()
				require.Empty(t, eve.messages())
				restart(t, v)
			})
		})
	}
}
