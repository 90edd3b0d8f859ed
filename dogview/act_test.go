package dogview_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/dogview"
)

// failedAlarm is an alarm that has failed.
type failedAlarm struct {
	Object    dog.ObjectInfo
	Name, Err string
	Retries   int
}

func TestFailed_AlarmsAreListedAndRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.broken.Store(true)
		for _, name := range []string{"a", "b"} {
			w.do(name, func(n *Note) error {
				return n.Storage().Alarms().SetNamed("ring", time.Now().Add(time.Second), []byte("loud"))
			})
		}
		require.Empty(t, get[page[failedAlarm]](w, "failed", "type", "note").Items)
		time.Sleep(10 * time.Minute) // they have failed, and the notes are evicted
		starts := w.starts.Load()
		failed := get[page[failedAlarm]](w, "failed", "type", "note").Items
		require.Len(t, failed, 2)
		require.Equal(t, "a", failed[0].Object.Name)
		require.Equal(t, "ring", failed[0].Name)
		require.Equal(t, "the bell is broken", failed[0].Err)
		require.Equal(t, starts, w.starts.Load())

		w.broken.Store(false)
		id := failed[1].Object.ID.String()
		order := map[string]string{"Type": "note", "ID": id, "Alarm": "ring"}
		status, body := w.post("again", order)
		require.Equal(t, http.StatusOK, status, body)
		synctest.Wait()
		require.EqualValues(t, 1, w.rings.Load())
		require.Len(t, get[page[failedAlarm]](w, "failed", "type", "note").Items, 1)
		status, body = w.post("again", order)
		require.Equal(t, http.StatusNotFound, status, body)
		require.Contains(t, w.log.String(), `what="run again" type=note id=`+id+" alarm=ring")

		w.do("b", func(n *Note) error { return n.Storage().Alarms().SetNamed("later", time.Now().Add(time.Hour), nil) })
		status, _ = w.post("again", map[string]string{"Type": "note", "ID": id, "Alarm": "later"})
		require.Equal(t, http.StatusNotFound, status, "it has not failed")
		alarms := get[page[struct {
			Name   string
			Failed bool
		}]](w, "alarms", "type", "note", "id", id)
		require.Len(t, alarms.Items, 1)
		require.Equal(t, "later", alarms.Items[0].Name)
	})
}

func TestFailed_AlarmsOfOneObjectArePaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.broken.Store(true)
		for _, name := range []string{"a", "b", "c"} {
			w.do(name, func(n *Note) error {
				if err := n.Storage().Alarms().SetNamed("later", time.Now().Add(time.Hour), nil); err != nil {
					return err
				}
				for i := range map[string]int{"a": 1, "b": 150, "c": 2}[name] {
					ring := fmt.Sprintf("ring %03d", i)
					if err := n.Storage().Alarms().SetNamed(ring, time.Now(), []byte("loud")); err != nil {
						return err
					}
				}
				return nil
			})
		}
		time.Sleep(30 * time.Minute) // they have failed, and the notes are evicted
		var names []string
		pages := 0
		for after := ""; after != "" || pages == 0; pages++ {
			p := get[page[failedAlarm]](w, "failed", "type", "note", "after", after)
			for _, a := range p.Items {
				names = append(names, a.Object.Name+" "+a.Name)
			}
			after = p.Next
		}
		require.Equal(t, 2, pages)
		require.Len(t, names, 153)
		require.Equal(t, []string{"a ring 000", "b ring 000"}, names[:2])
		require.Equal(t, []string{"b ring 149", "c ring 000", "c ring 001"}, names[150:])
		w.refused(http.StatusBadRequest, "failed", "type", "note", "after", "?")
		w.refused(http.StatusBadRequest, "failed", "type", "note", "after", "bm8")
	})
}

// The program's own texts are data.
func TestFailed_NamesAndErrorsOfAlarmsNeedData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		w.broken.Store(true)
		w.do("a", func(n *Note) error { return n.Storage().Alarms().SetNamed("secret", time.Now(), nil) })
		time.Sleep(10 * time.Minute)
		w.rights.Store(int32(dogview.See | dogview.Act))
		status, body := w.request(http.MethodGet, "/api/failed?type=note", "", nil)
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, body, w.notes.Named("a").ID().String())
		require.NotContains(t, body, "secret")
		require.NotContains(t, body, "the bell is broken")
		w.rights.Store(int32(dogview.See | dogview.Data))
		a := get[page[failedAlarm]](w, "failed", "type", "note").Items[0]
		require.Equal(t, []string{"secret", "the bell is broken"}, []string{a.Name, a.Err})
	})
}

// groupNow is a group in a list.
type groupNow struct {
	dog.ObjectEntry
	Replicas, Draining, Load, Sockets, UIDs int
}

func TestGroups_ShowTheirLoadAndAreDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		var clients []*dogtest.Client
		for i := range 5 {
			clients = append(clients, w.server.Dial(fmt.Sprintf("/crowd/hall?u=u%d", i)))
		}
		synctest.Wait()
		groups := get[page[groupNow]](w, "groups", "type", "crowd").Items
		require.Len(t, groups, 1)
		g := groups[0]
		require.Equal(t, []int{3, 0, 5, 5, 5}, []int{g.Replicas, g.Draining, g.Load, g.Sockets, g.UIDs})
		id := g.ID.String()
		stats := get[dog.GroupStats](w, "group", "type", "crowd", "id", id)
		require.Len(t, stats.Replicas, 3)
		require.Equal(t, 1, stats.Replicas[2].Load, "by load")

		order := map[string]string{"Type": "crowd", "ID": id, "Replica": stats.Replicas[2].ID.String()}
		status, body := w.post("drain", order)
		require.Equal(t, http.StatusOK, status, body)
		require.Equal(t, `{"Done":1}`, body)
		clients = append(clients, w.server.Dial("/crowd/hall?u=late"))
		synctest.Wait()
		stats = get[dog.GroupStats](w, "group", "type", "crowd", "id", id)
		require.Len(t, stats.Replicas, 4, "the newcomer has another")
		status, _ = w.post("drain", order)
		require.Equal(t, http.StatusNotFound, status, "it drains already")
		delete(order, "Replica")
		status, body = w.post("drain", order)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, `{"Done":3}`, body)
		require.Equal(t, 4, get[page[groupNow]](w, "groups", "type", "crowd").Items[0].Draining)

		seat := stats.Replicas[0].ID.String()
		stub, err := w.seats.Parse(seat)
		require.NoError(t, err)
		require.NoError(t, dog.CallErr0(t.Context(), stub, (*Seat).Keep))
		require.Len(t, get[page[entry]](w, "keys", "type", "seat", "id", seat).Items, 1)
		for _, c := range clients {
			c.Close(1000, "")
		}
		time.Sleep(10 * time.Minute)
		w.refused(http.StatusConflict, "keys", "type", "seat", "id", seat) // it would start its group
		w.refused(http.StatusNotFound, "group", "type", "crowd", "id", id)
		status, _ = w.post("drain", order)
		require.Equal(t, http.StatusNotFound, status)
		w.refused(http.StatusBadRequest, "group", "type", "crowd", "id", "x")
		w.refused(http.StatusNotFound, "keys", "type", "note", "id", seat) // of another type
	})
}

func TestReset_IsOfObjectsInMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		order := map[string]string{"Type": "note", "ID": w.notes.Named("a").ID().String()}
		status, _ := w.post("reset", order)
		require.Equal(t, http.StatusNotFound, status)
		w.do("a", func(*Note) error { return nil })
		status, _ = w.post("reset", order)
		require.Equal(t, http.StatusOK, status)
		w.do("a", func(*Note) error { return nil })
		require.EqualValues(t, 2, w.starts.Load())
		status, _ = w.post("reset", map[string]string{"Type": "seat", "ID": order["ID"]})
		require.Equal(t, http.StatusNotFound, status)
		status, _ = w.request(http.MethodPost, "/api/reset", "{", nil)
		require.Equal(t, http.StatusBadRequest, status)
		// Longer than an order, and short enough to be read before the answer.
		long := strings.Repeat(" ", 20<<10) + `{"Type":"note","ID":"` + order["ID"] + `"}`
		status, _ = w.request(http.MethodPost, "/api/reset", long, nil)
		require.Equal(t, http.StatusBadRequest, status)
		status, _ = w.request(http.MethodPost, "/api/reset", strings.TrimSpace(long), nil)
		require.Equal(t, http.StatusOK, status)
	})
}

func TestSlow_SocketsAreThoseWithTheMostToSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, dogview.Options{})
		require.Empty(t, get[page[dog.SlowSocket]](w, "slow").Items)
		slow := w.server.DialWith("/crowd/hall?u=bob", dogtest.DialOptions{OnDemand: true})
		require.NoError(t, w.crowds.Named("hall").Broadcast(t.Context(), strings.Repeat("x", 100_000)))
		synctest.Wait()
		items := get[page[dog.SlowSocket]](w, "slow").Items
		require.Len(t, items, 1)
		require.Equal(t, "bob", items[0].UID)
		require.Equal(t, "seat", items[0].Object.Namespace)
		slow.Receive()
	})
}
