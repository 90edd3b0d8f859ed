package api_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// Replicas whose handlers are not quite right.

type good struct{ dog.Replica }

func (*good) Receive(http.ResponseWriter, *http.Request) error { return nil }

// mute has a Receive that cannot fail.
type mute struct{ dog.Replica }

func (*mute) Receive(http.ResponseWriter, *http.Request) {}

type misspelt struct{ good }

func (*misspelt) OnMesage(context.Context, *dog.Socket, dog.Message) error { return nil }

type swapped struct{ dog.Replica }

func (*swapped) Receiev(http.ResponseWriter, *http.Request) error { return nil }

type lowered struct{ good }

// connected has a method that no handler's name resembles.
type connected struct{ good }

func (*connected) OnConnect(context.Context, *dog.Socket) error { return nil }

type joined struct{ dog.Group }

func (*joined) OnJoin(string) {}

type chatty struct{ dog.Object }

func (*chatty) OnGossip(context.Context, dog.Message) (any, error) { return nil, nil }

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

func (*otherReceive) Receive(http.ResponseWriter, http.Request) error { return nil }

type clusterizing struct{ good }

func (*clusterizing) Clusterize(context.Context, string) (string, error) { return "", nil }

type identifying struct{ good }

func (*identifying) Identify(*http.Request) (string, error) { return "", nil }

// Groups whose handlers are not quite right.

type opened struct{ dog.Group }

func (*opened) OnOpen(context.Context, *dog.Socket) error { return nil }

type gossiping struct{ dog.Group }

func (*gossiping) OnGossip(dog.Message) error { return nil }

type seated struct{ dog.Replica }

func (*seated) OnPresence(context.Context, dog.PresenceChange) error { return nil }

type pointed struct{ dog.Group }

func (*pointed) OnPresence(context.Context, *dog.PresenceChange) error { return nil }

type anonymous struct{ dog.Group }

func (*anonymous) Identify(*http.Request) string { return "" }

type british struct{ dog.Group }

func (*british) Clusterise(context.Context, string) (string, error) { return "", nil }

type late struct{ dog.Group }

func (*late) OnStart() error { return nil }

func TestRegister_RefusesNearMissesOfHandlers(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	rooms, err := dog.RegisterReplica[good](rt, "room", nil)
	require.NoError(t, err)
	tests := map[string]struct {
		register func(name string) error
		words    []string
	}{
		"misspelt": {
			func(name string) error { _, err := dog.RegisterReplica[misspelt](rt, name, nil); return err },
			[]string{
				"OnMesage(context.Context, *dog.Socket, dog.Message) error",
				"OnMessage(context.Context, *dog.Socket, dog.Message) error",
			},
		},
		"swapped letters": {
			func(name string) error { _, err := dog.RegisterReplica[swapped](rt, name, nil); return err },
			[]string{
				"Receiev(http.ResponseWriter, *http.Request) error",
				"Receive(http.ResponseWriter, *http.Request) error",
			},
		},
		"small letter": {
			func(name string) error { _, err := dog.RegisterReplica[lowered](rt, name, nil); return err },
			[]string{"Onopen", "OnOpen"},
		},
		"no handler of a replica": {
			func(name string) error { _, err := dog.RegisterReplica[connected](rt, name, nil); return err },
			[]string{"OnConnect(context.Context, *dog.Socket) error is no handler", "OnOpen", "OnMessage", "Receive"},
		},
		"no handler of a group": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[joined]{Limit: 1})
				return err
			},
			[]string{"OnJoin(string) is no handler", "Identify", "Clusterize", "OnPresence"},
		},
		"no handler of an object": {
			func(name string) error { _, err := dog.RegisterObject[clicked](rt, name, nil); return err },
			[]string{
				"OnÄnderung() is no handler",
				"Object has the handlers Receive, OnStart, OnStop, OnAlarm, OnOpen, OnMessage, OnClose, OnError, " +
					"OnPresence",
			},
		},
		"no context": {
			func(name string) error { _, err := dog.RegisterReplica[noContext](rt, name, nil); return err },
			[]string{
				"OnMessage(*dog.Socket, dog.Message) error",
				"OnMessage(context.Context, *dog.Socket, dog.Message) error",
			},
		},
		"no result": {
			func(name string) error { _, err := dog.RegisterReplica[noResult](rt, name, nil); return err },
			[]string{
				"OnClose(context.Context, *dog.Socket, int, string) must",
				"OnClose(context.Context, *dog.Socket, int, string) error",
			},
		},
		"one result of two": {
			func(name string) error { _, err := dog.RegisterReplica[noError](rt, name, nil); return err },
			[]string{
				"OnGossip(context.Context, dog.Message) interface {} must",
				"OnGossip(context.Context, dog.Message) (interface {}, error)",
			},
		},
		"value for pointer": {
			func(name string) error { _, err := dog.RegisterReplica[otherReceive](rt, name, nil); return err },
			[]string{
				"Receive(http.ResponseWriter, http.Request) error",
				"Receive(http.ResponseWriter, *http.Request) error",
			},
		},
		"a Receive without an error": {
			func(name string) error { _, err := dog.RegisterReplica[mute](rt, name, nil); return err },
			[]string{
				"Receive(http.ResponseWriter, *http.Request) must",
				"Receive(http.ResponseWriter, *http.Request) error",
			},
		},
		"a group's handler": {
			func(name string) error { _, err := dog.RegisterReplica[clusterizing](rt, name, nil); return err },
			[]string{"Clusterize is a handler of a Group, not of a Replica"},
		},
		"a gateway's handler": {
			func(name string) error { _, err := dog.RegisterReplica[identifying](rt, name, nil); return err },
			[]string{"Identify is a handler of a Group, not of a Replica"},
		},
		"a replica's handler of an object": {
			func(name string) error { _, err := dog.RegisterObject[chatty](rt, name, nil); return err },
			[]string{"OnGossip is a handler of a Replica, not of "},
		},
		"a handler of sockets": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[opened]{Limit: 1})
				return err
			},
			[]string{"OnOpen is a handler of ", ", not of a Group"},
		},
		"a replica's handler, nearly": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[gossiping]{Limit: 1})
				return err
			},
			[]string{"OnGossip is a handler of a Replica, not of a Group"},
		},
		"a group's and an object's handler": {
			func(name string) error { _, err := dog.RegisterReplica[seated](rt, name, nil); return err },
			[]string{"OnPresence is a handler of an Object or a Group, not of a Replica"},
		},
		"pointer for value": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[pointed]{Limit: 1})
				return err
			},
			[]string{"OnPresence(context.Context, *dog.PresenceChange) error must"},
		},
		"no error": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[anonymous]{Limit: 1})
				return err
			},
			[]string{"Identify(*http.Request) string must", "Identify(*http.Request) (string, error)"},
		},
		"other spelling": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[british]{Limit: 1})
				return err
			},
			[]string{"Clusterise", "Clusterize"},
		},
		"no parameters": {
			func(name string) error {
				_, err := dog.RegisterGroup(rt, name, rooms, &dog.GroupOptions[late]{Limit: 1})
				return err
			},
			[]string{"OnStart() error", "OnStart(context.Context) error"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.register(name)
			require.ErrorAs(t, err, new(*dog.RegistrationError))
			var refused *dog.RegistrationError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, name, refused.Namespace)
			require.Contains(t, err.Error(), refused.Type)
			for _, words := range test.words {
				require.Contains(t, refused.Problem, words)
			}
		})
	}
}

type pointedReplica struct{ *dog.Replica }

func (*pointedReplica) Receive(http.ResponseWriter, *http.Request) error { return nil }

type pointedGroup struct{ *dog.Group }

type pointedObject struct{ *dog.Object }

func TestRegister_EmbeddedPointerIsRefused(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica(rt, "replica", &dog.ReplicaOptions[pointedReplica]{
		New: func() *pointedReplica { return &pointedReplica{new(dog.Replica)} },
	})
	require.ErrorAs(t, err, new(*dog.RegistrationError))
	require.ErrorContains(t, err, "embeds *dog.Replica")
	rooms, err := dog.RegisterReplica[good](rt, "room", nil)
	require.NoError(t, err)
	_, err = dog.RegisterGroup(rt, "group", rooms, &dog.GroupOptions[pointedGroup]{
		New: func() *pointedGroup { return &pointedGroup{new(dog.Group)} }, Limit: 1,
	})
	require.ErrorAs(t, err, new(*dog.RegistrationError))
	require.ErrorContains(t, err, "embeds *dog.Group")
	_, err = dog.RegisterObject[pointedObject](rt, "object", nil)
	require.ErrorAs(t, err, new(*dog.RegistrationError))
	require.ErrorContains(t, err, "embeds *dog.Object")
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

func TestRegister_AcceptsOrdinaryMethods(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	replicas, err := dog.RegisterReplica[plain](rt, "replica", nil)
	require.NoError(t, err)
	_, err = dog.RegisterGroup(rt, "group", replicas, &dog.GroupOptions[plainGroup]{Limit: 1})
	require.NoError(t, err)
}

func TestRegister_GroupMustHaveALimit(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	rooms, err := dog.RegisterReplica[good](rt, "room", nil)
	require.NoError(t, err)
	tests := map[string]struct {
		options *dog.GroupOptions[plainGroup]
		words   string
	}{
		"nil options": {nil, "Limit is 0"},
		"none": {
			&dog.GroupOptions[plainGroup]{New: func() *plainGroup { return new(plainGroup) }},
			"Limit is 0",
		},
		"negative":    {&dog.GroupOptions[plainGroup]{Limit: -1}, "Limit is -1"},
		"MaxReplicas": {&dog.GroupOptions[plainGroup]{Limit: 1, MaxReplicas: -1}, "MaxReplicas is -1"},
	}
	for name, test := range tests {
		_, err := dog.RegisterGroup(rt, name, rooms, test.options)
		require.ErrorAs(t, err, new(*dog.RegistrationError), name)
		require.ErrorContains(t, err, test.words, name)
	}
}

func TestRegister_RequiresAUniqueNamespace(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica[good](rt, "", nil)
	require.ErrorAs(t, err, new(*dog.RegistrationError))
	require.ErrorIs(t, err, dog.ErrInvalidName)
	rooms, err := dog.RegisterReplica[good](rt, "taken", nil)
	require.NoError(t, err)
	_, err = dog.RegisterReplica[good](rt, "taken", nil)
	require.ErrorAs(t, err, new(*dog.RegistrationError))
	require.ErrorContains(t, err, "taken")
	_, err = dog.RegisterGroup(rt, "taken", rooms, &dog.GroupOptions[plainGroup]{Limit: 1})
	require.ErrorAs(t, err, new(*dog.RegistrationError))

	other := dogtest.New(t, dog.Options{})
	_, err = dog.RegisterReplica[good](other, "taken", nil)
	require.NoError(t, err, "another runtime has names of its own")
}

func TestRegister_RefusedNameStaysFree(t *testing.T) {
	rt := dogtest.New(t, dog.Options{})
	_, err := dog.RegisterReplica[mute](rt, "room", nil)
	require.Error(t, err)
	_, err = dog.RegisterReplica[good](rt, "room", nil)
	require.NoError(t, err)
}

func TestRegister_NeedsARuntime(t *testing.T) {
	rooms, err := dog.RegisterReplica[good](dogtest.New(t, dog.Options{}), "room", nil)
	require.NoError(t, err)
	for _, rt := range []*dog.Runtime{nil, {}} {
		_, err := dog.RegisterReplica[good](rt, "room", nil)
		require.ErrorAs(t, err, new(*dog.RegistrationError))
		require.ErrorContains(t, err, "not made by New")
		_, err = dog.RegisterObject[fixture.Object](rt, "cell", nil)
		require.ErrorAs(t, err, new(*dog.RegistrationError))
		require.ErrorContains(t, err, "not made by New")
		_, err = dog.RegisterGroup(rt, "group", rooms, &dog.GroupOptions[plainGroup]{Limit: 1})
		require.ErrorAs(t, err, new(*dog.RegistrationError))
	}
}
