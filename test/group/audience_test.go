package group_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// crowdOf has clients of owners by name.
type crowdOf map[string]*dogtest.Client

// received returns the names of the clients that have received something, in
// order.
func (c crowdOf) received(t *testing.T) (names []string) {
	t.Helper()
	synctest.Wait()
	for _, name := range slices.Sorted(maps.Keys(c)) {
		got := c[name].Received()
		require.LessOrEqual(t, len(got), 1, name)
		if len(got) > 0 {
			require.Equal(t, "hi", got[0].String(), name)
			names = append(names, name)
		}
	}
	return names
}

// broadcaster is an object or a replica.
type broadcaster interface {
	Broadcast(v any, options ...dog.SendOption) error
}

// sendBy sends "hi" by the named method.
func sendBy(o broadcaster, s *dog.Socket, word string) error {
	word, except, _ := strings.Cut(word, " but ")
	var options []dog.SendOption
	for uid := range strings.SplitSeq(except, ",") {
		if except != "" {
			options = append(options, dog.ExceptUID(uid))
		}
	}
	switch word {
	case "Socket.Emit":
		return s.Emit("hi", options...)
	case "Socket.Broadcast":
		return s.Broadcast("hi", options...)
	case "Emit":
		return o.(*fixture.Room).Emit("hi", options...)
	case "Broadcast":
		return o.Broadcast("hi", options...)
	}
	return fmt.Errorf("unknown word %q", word)
}

func TestAudience_DependsOnTheReceiverInAnObject(t *testing.T) {
	for word, want := range map[string][]string{
		"Broadcast":                    {"ada 1", "ada 2", "bob 1", "nobody 1", "nobody 2"},
		"Socket.Broadcast":             {"ada 2", "bob 1", "nobody 1", "nobody 2"},
		"Socket.Emit":                  {"ada 2", "bob 1", "nobody 1", "nobody 2"},
		"Broadcast but ada":            {"bob 1", "nobody 1", "nobody 2"},
		"Socket.Broadcast but ada":     {"bob 1", "nobody 1", "nobody 2"},
		"Socket.Emit but ada":          {"bob 1", "nobody 1", "nobody 2"},
		"Socket.Broadcast but bob":     {"ada 2", "nobody 1", "nobody 2"},
		"Broadcast but eve":            {"ada 1", "ada 2", "bob 1", "nobody 1", "nobody 2"},
		"Broadcast but bob,ada":        {"bob 1", "nobody 1", "nobody 2"}, // the last one counts
		"Socket.Broadcast but ada,bob": {"ada 2", "nobody 1", "nobody 2"},
	} {
		t.Run(word, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
					Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
						return sendBy(o, s, m.String())
					},
				})
				crowd := crowdOf{
					"ada 1": v.Enter("ada"), "ada 2": v.Enter("ada"), "bob 1": v.Enter("bob"),
					"nobody 1": v.Enter(""), "nobody 2": v.Enter(""), // who share no uid, having none
				}
				crowd["ada 1"].Send(word)
				require.Equal(t, want, crowd.received(t))
			})
		})
	}
}

func TestAudience_SocketWithoutAUIDExcludesOnlyItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := fixture.NewOwners(t, "an object", dog.Options{}, &fixture.OwnerHooks{
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				return sendBy(o, s, m.String())
			},
		})
		crowd := crowdOf{"a": v.Enter(""), "b": v.Enter(""), "c": v.Enter("")}
		crowd["a"].Send("Socket.Broadcast")
		require.Equal(t, []string{"b", "c"}, crowd.received(t))
		crowd["b"].Send("Socket.Broadcast but ada")
		require.Equal(t, []string{"a", "c"}, crowd.received(t))
	})
}

func TestAudience_DependsOnTheReceiverAcrossReplicas(t *testing.T) {
	for word, want := range map[string][]string{
		"Emit":                     {"ada 1", "ada 2"},
		"Broadcast":                {"ada 1", "ada 2", "ada 3", "bob 1", "eve 1"},
		"Socket.Emit":              {"ada 2"},
		"Socket.Broadcast":         {"ada 2", "ada 3", "bob 1", "eve 1"},
		"Emit but ada":             nil,
		"Broadcast but ada":        {"bob 1", "eve 1"},
		"Socket.Emit but ada":      nil,
		"Socket.Broadcast but ada": {"bob 1", "eve 1"},
		"Socket.Broadcast but eve": {"ada 2", "ada 3", "bob 1"},
	} {
		t.Run(word, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := fixture.NewRooms(
					t, 2,
					&fixture.Hooks{
						Message: func(_ context.Context, r *fixture.Room, s *dog.Socket, m dog.Message) error {
							return sendBy(r, s, m.String())
						},
					},
				)
				crowd := crowdOf{
					"ada 1": h.Enter("ada"), "ada 2": h.Enter("ada"), // fill the first replica
					"ada 3": h.Enter("ada"), "bob 1": h.Enter("bob"), "eve 1": h.Enter("eve"),
				}
				require.Equal(t, []int{2, 2, 1}, h.Loads())
				crowd["ada 1"].Send(word)
				require.Equal(t, want, crowd.received(t))
			})
		})
	}
}

func TestAudience_OfGroupMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := fixture.NewRooms(t, 2, &fixture.Hooks{})
		crowd := crowdOf{
			"ada 1": h.Enter(
				"ada",
			), "ada 2": h.Enter("ada"), "ada 3": h.Enter("ada"), "bob 1": h.Enter("bob"), "eve 1": h.Enter("eve"),
		}
		all := []string{"ada 1", "ada 2", "ada 3", "bob 1", "eve 1"}
		first := slices.Collect(h.Group.Replicas())[0].ID
		run := func(f func(ctx context.Context, l *fixture.Lobby) error) {
			require.NoError(t, dog.CallErr(t.Context(), h.Group.Stub, (*fixture.Lobby).Do, f))
		}
		run(func(_ context.Context, l *fixture.Lobby) error { return l.Broadcast("hi") })
		require.Equal(t, all, crowd.received(t))
		run(func(_ context.Context, l *fixture.Lobby) error { return l.Broadcast("hi", dog.ExceptUID("ada")) })
		require.Equal(t, []string{"bob 1", "eve 1"}, crowd.received(t))
		run(func(_ context.Context, l *fixture.Lobby) error { return l.Emit(first, "hi") })
		require.Equal(t, []string{"ada 1", "ada 2"}, crowd.received(t))
		run(func(ctx context.Context, l *fixture.Lobby) error {
			n, err := l.Whisper(ctx, "ada", "hi")
			require.Equal(t, 3, n)
			return err
		})
		require.Equal(t, []string{"ada 1", "ada 2", "ada 3"}, crowd.received(t))

		require.NoError(t, h.Group.Broadcast(t.Context(), "hi", dog.ExceptUID("bob")))
		require.Equal(t, []string{"ada 1", "ada 2", "ada 3", "eve 1"}, crowd.received(t))
		require.NoError(t, h.Group.Emit(t.Context(), first, "hi"))
		require.Equal(t, []string{"ada 1", "ada 2"}, crowd.received(t))
		n, err := h.Group.Whisper(t.Context(), "eve", "hi")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Equal(t, []string{"eve 1"}, crowd.received(t))
	})
}
