package observe_test

import (
	"context"
	"errors"
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

// fullGroup is a group with every handler that a group may have, fullReplica a
// replica with every one of its own.
type (
	fullGroup   struct{ dog.Group }
	fullReplica struct{ dog.Replica }
)

func (*fullGroup) OnStart(context.Context) error                      { return nil }
func (*fullGroup) Identify(req *http.Request) (string, error)         { return req.URL.Query().Get("u"), nil }
func (*fullGroup) Clusterize(context.Context, string) (string, error) { return "one", nil }
func (*fullReplica) OnStart(context.Context) error                    { return nil }
func (b *fullReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := b.Connect(w, req, nil)
	return err
}
func (*fullReplica) OnOpen(context.Context, *dog.Socket) error               { return nil }
func (*fullReplica) OnClose(context.Context, *dog.Socket, int, string) error { return nil }
func (*fullReplica) OnError(context.Context, *dog.Socket, error) error       { return nil }
func (*fullReplica) OnGossip(context.Context, dog.Message) (any, error)      { return nil, nil }
func (*fullReplica) OnMessage(ctx context.Context, s *dog.Socket, m dog.Message) error {
	switch m.String() {
	case "panic":
		panic("on purpose")
	case "go":
		return dog.Go(ctx, func(context.Context) error { return nil })
	}
	return errors.New(m.String())
}

func TestTrace_ReportsTheLifeOfAGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		rt := dogtest.New(t, dog.Options{Trace: d.Trace()})
		fullReplicas, err := dog.RegisterReplica[fullReplica](rt, "fullReplica", nil)
		require.NoError(t, err)
		fullGroups, err := dog.RegisterGroup(rt, "fullGroup", fullReplicas, &dog.GroupOptions[fullGroup]{Limit: 3})
		require.NoError(t, err)
		group := fullGroups.Named("main")
		srv := dogtest.Serve(t, group)

		ada := srv.Dial("/?u=ada")
		require.ElementsMatch(t, []string{ // Receive is reported when its turn is over, perhaps after OnOpen
			"fullGroup started", "fullGroup OnStart", "fullGroup Identify", "fullGroup Clusterize",
			"fullReplica started", "fullReplica OnStart", "ada opened", "fullReplica Receive", "fullReplica OnOpen",
		}, d.Take())
		ada.Send("oops")
		require.Equal(t, []string{"fullReplica OnMessage"}, d.Take())
		done := d.Events()
		require.EqualError(t, done[len(done)-1].Err, "oops")
		ada.Send("go")
		require.ElementsMatch(t, []string{"fullReplica OnMessage", "fullReplica Go"}, d.Take())
		_, err = group.Gossip(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, []string{"fullReplica OnGossip"}, d.Take())
		ada.Close(4000, "enough")
		require.Equal(t, []string{"ada closed 4000 enough", "fullReplica OnClose"}, d.Take())

		bob := srv.Dial("/?u=bob")
		d.Take()
		bob.Vanish()
		require.Equal(t, []string{"bob closed 1006 ", "fullReplica OnError", "fullReplica OnClose"}, d.Take())

		cyd := srv.Dial("/?u=cyd")
		d.Take()
		d.Events()
		cyd.Send("panic")
		require.Equal(t, []string{
			"fullReplica reset", "fullReplica OnMessage", "cyd closed 1011 ",
			"fullReplica started", "fullReplica OnStart", "fullReplica OnClose",
		}, d.Take())
		var panicked *dog.PanicError
		require.ErrorAs(t, d.Events()[0].Err, &panicked)
		require.Equal(t, "on purpose", panicked.Value)

		time.Sleep(5 * time.Minute)
		require.Equal(t, []string{"fullReplica retired", "fullGroup retired"}, d.Take())
	})
}

func TestTrace_ReportsHowLongAnEventWaitedAndRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d fixture.TraceLog
		h := fixture.NewRoomsWith(
			t, dog.Options{Trace: &dog.Trace{EventDone: d.Trace().EventDone}},
			dog.GroupOptions[fixture.Lobby]{Limit: 2},
			&fixture.Hooks{
				Receive: func(*fixture.Room, http.ResponseWriter, *http.Request) { time.Sleep(time.Second) },
			},
		)
		h.Server.Get("/")
		d.Events()
		go h.Server.Get("/")
		synctest.Wait()
		time.Sleep(time.Second / 4)
		h.Server.Get("/")
		id := h.Runtime.Stats().Groups[0].Replicas[0].ID
		object := dog.ObjectInfo{ID: id, Kind: dog.KindReplica, Namespace: "room"}
		events := d.Events()
		first, second := time.Now().Add(-2*time.Second), time.Now().Add(-time.Second)
		require.Equal(t, []dog.EventInfo{
			{Object: object, Kind: dog.EventReceive, Began: first, Run: time.Second},
			{Object: object, Kind: dog.EventReceive, Began: second, Wait: 3 * time.Second / 4, Run: time.Second},
		}, events)
	})
}

func TestTrace_KindsHaveNames(t *testing.T) {
	for kind, name := range map[fmt.Stringer]string{
		dog.EventStart: "OnStart", dog.EventReceive: "Receive", dog.EventIdentify: "Identify",
		dog.EventClusterize: "Clusterize", dog.EventOpen: "OnOpen", dog.EventMessage: "OnMessage",
		dog.EventClose: "OnClose", dog.EventError: "OnError", dog.EventGossip: "OnGossip",
		dog.EventPresence: "OnPresence", dog.EventGo: "Go",
		dog.EventTimer: "timer", dog.EventCall: "Call", dog.EventAlarm: "OnAlarm", dog.EventStop: "OnStop",
		dog.EventAdmin:   "admin",
		dog.EventKind(0): "EventKind(0)", dog.EventAdmin + 1: "EventKind(17)", dog.EventKind(-1): "EventKind(-1)",
		dog.KindGroup: "Group", dog.KindReplica: "Replica", dog.KindObject: "Object", dog.Kind(0): "Kind(0)",
		dog.Text: "text", dog.Binary: "binary", dog.MessageType(9): "MessageType(9)",
		dog.StopIdle: "idle", dog.StopShutdown: "shutdown", dog.StopReason(7): "StopReason(7)",
	} {
		require.Equal(t, name, kind.String())
	}
}
