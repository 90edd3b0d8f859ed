package dog_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// Replicas whose handlers are not quite right.

type good struct{ dog.Replica }

func (*good) Receive(http.ResponseWriter, *http.Request) {}

type deaf struct{ dog.Replica }

type misspelt struct{ good }

func (*misspelt) OnMesage(context.Context, *dog.Socket, dog.Message) error { return nil }

type swapped struct{ dog.Replica }

func (*swapped) Receiev(http.ResponseWriter, *http.Request) {}

type lowered struct{ good }

// connected has a method that no handler's name resembles.
type connected struct{ good }

func (*connected) OnConnect(context.Context, *dog.Socket) error { return nil }

type joined struct{ dog.Group }

func (*joined) OnJoin(string) {}

type clicked struct{ dog.Object }

func (*clicked) OnÄnderung() {}

func (*lowered) Onopen(context.Context, *dog.Socket) error { return nil }

type noContext struct{ good }

func (*noContext) OnMessage(*dog.Socket, dog.Message) error { return nil }

type noResult struct{ good }

func (*noResult) OnClose(context.Context, *dog.Socket, int, string) {}

type noError struct{ good }

func (*noError) OnGossip(context.Context, dog.Message) any { return nil }

type otherReceive struct{ dog.Replica }

func (*otherReceive) Receive(http.ResponseWriter, http.Request) {}

type clusterizing struct{ good }

func (*clusterizing) Clusterize(context.Context, string) (string, error) { return "", nil }

type identifying struct{ good }

func (*identifying) Identify(*http.Request) (string, error) { return "", nil }

// Groups whose handlers are not quite right.

type opened struct{ dog.Group }

func (*opened) OnOpen(context.Context, *dog.Socket) error { return nil }

type gossiping struct{ dog.Group }

func (*gossiping) OnGossip(dog.Message) error { return nil }

type anonymous struct{ dog.Group }

func (*anonymous) Identify(*http.Request) string { return "" }

type british struct{ dog.Group }

func (*british) Clusterise(context.Context, string) (string, error) { return "", nil }

type late struct{ dog.Group }

func (*late) OnStart() error { return nil }

func TestNearlyAHandlerIsRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	one := func(g *dog.Group) { g.Limit = 1 }
	tests := map[string]struct {
		register func(name string) error
		says     []string
	}{
		"misspelt": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*misspelt) {}); return err },
			[]string{"OnMesage(context.Context, *dog.Socket, dog.Message) error", "OnMessage(context.Context, *dog.Socket, dog.Message) error"},
		},
		"swapped letters": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*swapped) {}); return err },
			[]string{"Receiev(http.ResponseWriter, *http.Request)", "Receive(http.ResponseWriter, *http.Request)"},
		},
		"small letter": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*lowered) {}); return err },
			[]string{"Onopen", "OnOpen"},
		},
		"no handler of a replica": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*connected) {}); return err },
			[]string{"OnConnect(context.Context, *dog.Socket) error is no handler", "OnOpen", "OnMessage", "Receive"},
		},
		"no handler of a group": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *joined) { one(&g.Group) })
				return err
			},
			[]string{"OnJoin(string) is no handler", "Identify", "Clusterize"},
		},
		"no handler of an object": {
			func(name string) error { _, err := dog.RegisterObject(rt, name, func(*clicked) {}); return err },
			[]string{"OnÄnderung() is no handler", "Object has the handlers Receive, OnStart, OnStop, OnAlarm"},
		},
		"no context": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*noContext) {}); return err },
			[]string{"OnMessage(*dog.Socket, dog.Message) error", "OnMessage(context.Context, *dog.Socket, dog.Message) error"},
		},
		"no result": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*noResult) {}); return err },
			[]string{"OnClose(context.Context, *dog.Socket, int, string) must", "OnClose(context.Context, *dog.Socket, int, string) error"},
		},
		"one result of two": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*noError) {}); return err },
			[]string{"OnGossip(context.Context, dog.Message) interface {} must", "OnGossip(context.Context, dog.Message) (interface {}, error)"},
		},
		"value for pointer": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*otherReceive) {}); return err },
			[]string{"Receive(http.ResponseWriter, http.Request)", "Receive(http.ResponseWriter, *http.Request)"},
		},
		"no Receive": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*deaf) {}); return err },
			[]string{"Receive(http.ResponseWriter, *http.Request)"},
		},
		"a group's handler": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*clusterizing) {}); return err },
			[]string{"Clusterize is a handler of a Group, not of a Replica"},
		},
		"a gateway's handler": {
			func(name string) error { _, err := dog.RegisterReplica(rt, name, func(*identifying) {}); return err },
			[]string{"Identify is a handler of a Group, not of a Replica"},
		},
		"a replica's handler": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *opened) { one(&g.Group) })
				return err
			},
			[]string{"OnOpen is a handler of a Replica, not of a Group"},
		},
		"a replica's handler, nearly": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *gossiping) { one(&g.Group) })
				return err
			},
			[]string{"OnGossip is a handler of a Replica, not of a Group"},
		},
		"no error": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *anonymous) { one(&g.Group) })
				return err
			},
			[]string{"Identify(*http.Request) string must", "Identify(*http.Request) (string, error)"},
		},
		"other spelling": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *british) { one(&g.Group) })
				return err
			},
			[]string{"Clusterise", "Clusterize"},
		},
		"no parameters": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, func(g *late) { one(&g.Group) })
				return err
			},
			[]string{"OnStart() error", "OnStart(context.Context) error"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.register(name)
			require.ErrorIs(t, err, dog.ErrRegistration)
			var refused *dog.RegistrationError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, name, refused.Namespace)
			require.Contains(t, err.Error(), refused.Type)
			for _, words := range test.says {
				require.Contains(t, refused.Problem, words)
			}
		})
	}
}

type pointedReplica struct{ *dog.Replica }

func (*pointedReplica) Receive(http.ResponseWriter, *http.Request) {}

type pointedGroup struct{ *dog.Group }

func TestAnEmbeddedPointerIsRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica(rt, "replica", func(r *pointedReplica) { r.Replica = new(dog.Replica) })
	require.ErrorIs(t, err, dog.ErrRegistration)
	require.ErrorContains(t, err, "embeds *dog.Replica")
	_, err = dog.RegisterGroup(rt, "group", func(g *pointedGroup) { g.Group = &dog.Group{Limit: 1} })
	require.ErrorIs(t, err, dog.ErrRegistration)
	require.ErrorContains(t, err, "embeds *dog.Group")
}

// plain has methods that look a little like handlers and are none.
type plain struct{ good }

func (*plain) Received() int                                { return 0 }
func (*plain) Open()                                        {}
func (*plain) Close() error                                 { return nil }
func (*plain) Once()                                        {}
func (*plain) Only() bool                                   { return true }
func (*plain) Online() int                                  { return 0 }
func (*plain) Onward(context.Context, string) error         { return nil }
func (*plain) Start()                                       {}
func (*plain) Message() dog.Message                         { return dog.Message{} }
func (*plain) Error() string                                { return "" }
func (*plain) Identity() string                             { return "" }
func (*plain) Identify(token string) (string, bool)         { return token, true }
func (*plain) Clusterize() int                              { return 0 }
func (*plain) Deceive(http.ResponseWriter)                  {}
func (*plain) Serve(context.Context, string) error          { return nil }
func (*plain) ServeHTTP(http.ResponseWriter, *http.Request) {}

// plainGroup is the like for groups.
type plainGroup struct{ dog.Group }

func (*plainGroup) Opened() bool                { return true }
func (*plainGroup) Identified() int             { return 0 }
func (*plainGroup) Cluster(context.Context) int { return 0 }
func (*plainGroup) Received() int               { return 0 }

func TestOrdinaryMethodsAreNotTakenForHandlers(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica(rt, "replica", func(*plain) {})
	require.NoError(t, err)
	_, err = dog.RegisterGroup(rt, "group", func(g *plainGroup) { g.Limit = 1 })
	require.NoError(t, err)
}

func TestAGroupMustHaveALimit(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	tests := map[string]struct {
		setup func(*plainGroup)
		says  string
	}{
		"nil setup":   {nil, "Limit is 0"},
		"none":        {func(*plainGroup) {}, "Limit is 0"},
		"zero":        {func(g *plainGroup) { g.Limit = 0 }, "Limit is 0"},
		"negative":    {func(g *plainGroup) { g.Limit = -1 }, "Limit is -1"},
		"MaxReplicas": {func(g *plainGroup) { g.Limit = 1; g.MaxReplicas = -1 }, "MaxReplicas is -1"},
	}
	for name, test := range tests {
		_, err := dog.RegisterGroup(rt, name, test.setup)
		require.ErrorIs(t, err, dog.ErrRegistration, name)
		require.ErrorContains(t, err, test.says, name)
	}
}

func TestANamespaceNeedsANameOfItsOwn(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica(rt, "", func(*good) {})
	require.ErrorIs(t, err, dog.ErrRegistration)
	require.ErrorContains(t, err, "name is empty")
	_, err = dog.RegisterReplica(rt, "taken", func(*good) {})
	require.NoError(t, err)
	_, err = dog.RegisterReplica(rt, "taken", func(*good) {})
	require.ErrorIs(t, err, dog.ErrRegistration)
	require.ErrorContains(t, err, "taken")
	_, err = dog.RegisterGroup(rt, "taken", func(g *plainGroup) { g.Limit = 1 })
	require.ErrorIs(t, err, dog.ErrRegistration)

	other := dogtest.New(t, dog.Options{})
	_, err = dog.RegisterReplica(other, "taken", func(*good) {})
	require.NoError(t, err, "another runtime has names of its own")
}

func TestARefusedNameStaysFree(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica(rt, "room", func(*deaf) {})
	require.Error(t, err)
	_, err = dog.RegisterReplica(rt, "room", func(*good) {})
	require.NoError(t, err)
}

func TestRegistrationNeedsARuntime(t *testing.T) {
	for _, rt := range []*dog.Runtime{nil, {}} {
		_, err := dog.RegisterReplica(rt, "room", func(*good) {})
		require.ErrorIs(t, err, dog.ErrRegistration)
		require.ErrorIs(t, err, dog.ErrNotRunning)
		_, err = dog.RegisterGroup(rt, "group", func(g *plainGroup) { g.Limit = 1 })
		require.ErrorIs(t, err, dog.ErrNotRunning)
	}
}

func TestASetupThatPanicsIsRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterGroup(rt, "group", func(*plainGroup) { panic("no database") })
	require.ErrorIs(t, err, dog.ErrRegistration)
	require.ErrorContains(t, err, "no database")
}

// shop is a replica with a dependency.
type shop struct {
	dog.Replica
	prices map[string]string
}

func (s *shop) Receive(w http.ResponseWriter, req *http.Request) {
	price, found := s.prices[req.URL.Path]
	if !found {
		dog.WriteError(w, errors.New("no such thing"))
		return
	}
	_, _ = w.Write([]byte(s.GroupName() + ": " + price))
}

func TestSetupHandsDependenciesOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		prices := map[string]string{"/tea": "3"}
		rt := dogtest.New(t, dog.Options{})
		malls, err := dog.RegisterGroup(rt, "mall", func(g *plainGroup) { *g = plainGroup{Group: dog.Group{Limit: 1}} })
		require.NoError(t, err)
		shops, err := dog.RegisterReplica(rt, "shop", func(s *shop) { *s = shop{prices: prices} })
		require.NoError(t, err)
		family := dog.Link(malls, shops)
		for _, requestID := range []string{"ada", "bob"} {
			stub, err := dog.Identify(t.Context(), malls.Named("north"), requestID, family)
			require.NoError(t, err)
			status, body := dogtest.Serve(t, stub).Get("/tea")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, "north: 3", body)
		}
	})
}

func TestAReplicaNeedsNoSetup(t *testing.T) {
	_, err := dog.RegisterReplica[good](dogtest.New(t, dog.Options{}), "room", nil)
	require.NoError(t, err)
}
