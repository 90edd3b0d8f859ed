package history_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// numbering is [telling], except that messages that begin with "not" go to all
// but ada.
func numbering() *fixture.OwnerHooks {
	on := telling()
	toAll := on.Message
	on.Message = func(ctx context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
		if !strings.HasPrefix(m.String(), "not") {
			return toAll(ctx, o, s, m)
		}
		n, err := storedCount(o)
		if err != nil {
			return err
		}
		if err := o.Storage().Put("n", []byte(strconv.Itoa(n+1))); err != nil {
			return err
		}
		return o.Broadcast(fmt.Sprint(n+1, " ", m), dog.ExceptUID("ada"))
	}
	return on
}

// switched is a server of owners that may be replaced by those after a restart,
// so that the clients stay the same.
func switched(t *testing.T, v **fixture.Owners) *dogtest.Server {
	return dogtest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*v).Serve(w, r) }))
}

// received returns the texts that have arrived and have not been taken.
func received(c *dogtest.V1Client) (all []string) {
	synctest.Wait()
	for _, m := range c.Received() {
		all = append(all, m.String())
	}
	return all
}

// The power is cut at each change of the disk in turn. Every message that a
// client has received is kept, the state counts the kept messages, and in the
// end each message has taken effect once.
func TestDurable_PowerCutAtEveryChange(t *testing.T) {
	for _, kind := range kinds {
		for _, torn := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, torn %v", kind, torn), func(t *testing.T) {
				var changes, lost int
				synctest.Test(t, func(t *testing.T) { changes, _ = cutAt(t, kind, 0, torn) })
				for n := range changes {
					synctest.Test(t, func(t *testing.T) {
						_, some := cutAt(t, kind, n+1, torn)
						lost += some
					})
				}
				require.GreaterOrEqual(t, changes, 30)
				require.Greater(t, lost, changes, "most cuts come before the end")
			})
		}
	}
}

// cutAt lets clients talk on a disk that writes nothing from its n-th change
// on, and crashes. It returns the number of changes if n is 0, and how many
// messages were not kept.
func cutAt(t *testing.T, kind string, n int, torn bool) (changes, lost int) {
	d := dogtest.NewDisk(t)
	v := fixture.NewOwners(t, kind, dog.Options{Store: d}, numbering())
	srv := switched(t, &v)
	ada := srv.DialV1("/?u=ada", dogtest.V1Options{})
	bob := srv.DialV1("/?u=bob", dogtest.V1Options{})
	sent := []string{"first"} // what has to take effect
	ada.Acknowledged(ada.Send("first"))
	before := d.Changes()
	d.Fail(n, errors.New("the power is cut"))

	var outside []string // sent, and reported to be
	say := func(c *dogtest.V1Client, texts ...string) {
		for _, text := range texts {
			c.Send(text)
			if !strings.HasSuffix(text, " fail") {
				sent = append(sent, text)
			}
		}
		synctest.Wait()
	}
	for i := range 4 {
		say(ada, fmt.Sprint("a", i))
		say(bob, fmt.Sprint("not", i))
		say(ada, fmt.Sprint("wait", i), fmt.Sprint("a", i, " fail"), fmt.Sprint("a", i, "b"))
		if text := fmt.Sprint("outside", i); v.Broadcast(t.Context(), text) == nil {
			outside = append(outside, text)
		}
		say(bob, fmt.Sprint("b", i))
	}
	changes = d.Changes() - before
	if torn {
		d.CrashTorn(uint64(n))
	} else {
		d.Crash()
	}
	told, toldBob := received(ada), received(bob)

	v = fixture.NewOwners(t, kind, dog.Options{Store: d}, numbering())
	start := dog.Position("")
	eve := srv.DialV1("/?u=eve", dogtest.V1Options{After: &start})
	kept := received(eve)
	require.Subset(t, kept, told, "what a client has received is kept")
	require.Subset(t, kept, toldBob, "and what bob was, with what is not for ada")
	for _, text := range outside {
		require.Contains(t, kept, text, "what was reported to be sent is kept")
	}
	lost = len(sent) - len(numbers(t, kept))

	ada, bob = ada.Again(), bob.Again()
	require.Empty(t, ada.Hello.Gap)
	require.Empty(t, bob.Hello.Gap)
	told, toldBob = append(told, received(ada)...), append(toldBob, received(bob)...)
	kept = append(kept, received(eve)...)
	want := slices.DeleteFunc(slices.Clone(kept), notForAda)
	require.Equal(t, want, told, "nothing is missed, and nothing comes twice")
	require.Equal(t, kept, toldBob, "the same for bob, with what is not for ada")
	require.ElementsMatch(t, sent, numbers(t, kept), "everything has taken effect once")
	restart(t, v)
	return changes, lost
}

func notForAda(text string) bool { return strings.Contains(text, " not") }

// numbers returns the texts of numbered messages, whose numbers must be those
// that the state counts.
func numbers(t *testing.T, messages []string) (texts []string) {
	t.Helper()
	for _, m := range messages {
		if number, text, numbered := strings.Cut(m, " "); numbered {
			texts = append(texts, text)
			require.Equal(t, strconv.Itoa(len(texts)), number, "the state counts what is kept")
		}
	}
	return texts
}
