package history_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

var durable = dog.HistoryOptions{Count: 1000, Age: time.Hour, Durable: true}

// telling is an owner with a durable history. It counts the messages of its
// clients in its storage, and sends each to all with its number, before it
// stores anything. If the first word of a message is "wait", the turn waits
// first. If the second is "fail" or "panic", it ends in that way.
func telling() *fixture.OwnerHooks {
	return &fixture.OwnerHooks{
		History: durable, RollbackOnError: true,
		Message: func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
			if strings.HasPrefix(m.String(), "wait") {
				if err := dog.Await(ctx, func() error { return nil }); err != nil {
					return err
				}
			}
			n, err := storedCount(o)
			if err != nil {
				return err
			}
			if err := o.Broadcast(fmt.Sprint(n+1, " ", m)); err != nil {
				return err
			}
			if err := o.Storage().Put("n", []byte(strconv.Itoa(n+1))); err != nil {
				return err
			}
			switch _, end, _ := strings.Cut(m.String(), " "); end {
			case "fail":
				return errors.New("as asked")
			case "panic":
				panic("as asked")
			}
			return nil
		},
	}
}

// storedCount returns how many messages an owner has counted.
func storedCount(o fixture.Owner) (int, error) {
	n, found, err := o.Storage().Get("n")
	if err != nil || !found {
		return 0, err
	}
	return strconv.Atoi(string(n))
}

// onDisk runs a test for each kind of owner, in a bubble. start starts a
// runtime on the disk.
func onDisk(
	t *testing.T, on *fixture.OwnerHooks, f func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners),
) {
	forEachKind(t, func(t *testing.T, kind string) {
		d := dogtest.NewDisk(t)
		f(t, d, func() *fixture.Owners { return fixture.NewOwners(t, kind, dog.Options{Store: d}, on) })
	})
}

func TestDurable_CrashIsNoGap(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		ada.Send("m\nb")
		synctest.Wait() // durable, and nobody has read it
		d.Crash()

		v = start()
		again := dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, again.hello.Gap)
		require.Equal(t, "2 b", again.message())
		again.Send("m\nc")
		require.Equal(t, "3 c", again.message())
		eve := dial(t, v.Server, "eve", "&after=")
		require.Equal(t, []string{"1 a", "2 b", "3 c"}, []string{eve.message(), eve.message(), eve.message()})
		restart(t, v)

		v = start()
		require.NoError(t, v.Broadcast(t.Context(), "from outside"))
		again = dial(t, v.Server, "ada", after(again.pos))
		require.Empty(t, again.hello.Gap)
		require.Equal(t, "from outside", again.message())
		restart(t, v)
	})
}

func TestDurable_MessageOfATurnThatFailsIsNeitherSentNorKept(t *testing.T) {
	onDisk(t, telling(), func(t *testing.T, _ *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		for _, m := range []string{"now fail", "wait fail"} {
			ada.Send("m\n" + m)
			synctest.Wait()
			require.Empty(t, ada.messages())
		}
		for _, m := range []string{"now panic", "wait panic"} {
			ada.Send("m\n" + m)
			_, _ = ada.Closed()
			ada = dial(t, v.Server, "ada", after(ada.pos))
			require.Empty(t, ada.hello.Gap)
		}
		eve := dial(t, v.Server, "eve", "&after=")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		require.Equal(t, "1 a", eve.message())
		restart(t, v)
	})
}

// Nothing is sent before it is durable, also what is sent before the turn has
// stored anything.
func TestDurable_MessageIsSentWhenItIsDurable(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		v, engine := fixture.NewGatedOwners(t, kind, telling())
		ada := dial(t, v.Server, "ada", "")
		engine.Flush()
		ada.Send("m\na")
		synctest.Wait()
		require.Empty(t, ada.messages())
		page, err := v.History("ada").Read("", 0)
		require.NoError(t, err)
		require.Empty(t, page.Messages, "it is not read either")
		engine.Flush()
		require.Equal(t, "1 a", ada.message())

		ada.Send("m\nb")
		synctest.Wait()
		engine.Fail(errors.New("a scratch"))
		_, _ = ada.Closed()
		ada = dial(t, v.Server, "ada", after(ada.pos))
		synctest.Wait()
		require.Empty(t, ada.messages())
	})
}

// A power cut keeps any part of the data that is not durable. Every message
// that a client has received is kept, and the state counts exactly the kept
// messages.
func TestDurable_PowerCutKeepsMessagesAndStateTogether(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			lost := 0
			for seed := range uint64(60) {
				synctest.Test(t, func(t *testing.T) { lost += powerCut(t, kind, seed) })
			}
			require.NotZero(t, lost, "some messages are not durable when the power is cut")
		})
	}
}

func powerCut(t *testing.T, kind string, seed uint64) (lost int) {
	const all = 20
	d := dogtest.NewDisk(t)
	v := fixture.NewOwners(t, kind, dog.Options{Store: d}, telling())
	ada := dial(t, v.Server, "ada", "")
	for i := range all {
		ada.Send(fmt.Sprint("m\n", i))
		if i == int(seed%all) {
			require.NotEmpty(t, ada.message())
		}
	}
	d.CrashTorn(seed)
	told := ada.messagesBeforeEnd()

	v = fixture.NewOwners(t, kind, dog.Options{Store: d}, telling())
	eve := dial(t, v.Server, "eve", "&after=")
	synctest.Wait()
	kept := eve.messages()
	require.GreaterOrEqual(t, len(kept), told, "what a client has received is kept")
	for i, m := range kept {
		require.Equal(t, fmt.Sprint(i+1, " ", i), m)
	}
	eve.Send("m\nnext")
	require.Equal(t, fmt.Sprint(len(kept)+1, " next"), eve.message(), "the state counts what is kept")
	restart(t, v)
	return all - len(kept)
}

// messagesBeforeEnd returns how many messages the client has got in all, when
// its connection has ended.
func (c *client) messagesBeforeEnd() int {
	synctest.Wait()
	all := 1 // has been read
	for _, m := range c.Received() {
		if kind, _ := c.parse(m); kind == "m" {
			all++
		}
	}
	return all
}

func TestDurable_BackupIsAnotherHistory(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		start := func(dir string) *fixture.Owners {
			return fixture.NewOwners(t, kind, dog.Options{Store: disk.At(dir)}, telling())
		}
		original, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "data")
		v := start(original)
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\na")
		require.Equal(t, "1 a", ada.message())
		require.NoError(t, v.Runtime.Backup(t.Context(), backup))
		ada.Send("m\nb")
		require.Equal(t, "2 b", ada.message())
		restart(t, v)

		v = start(backup)
		eve := dial(t, v.Server, "eve", "&after=")
		eve.Send("m\nanother b")
		require.Equal(t, "1 a", eve.message())
		require.Equal(t, "2 another b", eve.message())
		again := dial(t, v.Server, "ada", after(ada.pos))
		require.Equal(t, "epoch", again.hello.Gap, "it has a message that the backup has not")
		restart(t, v)

		v = start(original)
		again = dial(t, v.Server, "ada", after(ada.pos))
		require.Empty(t, again.hello.Gap, "a backup changes nothing for the original")
		again = dial(t, v.Server, "eve", after(eve.pos))
		require.Equal(t, "epoch", again.hello.Gap)
		restart(t, v)

		v = start(backup)
		again = dial(t, v.Server, "eve", after(eve.pos))
		require.Empty(t, again.hello.Gap, "what was made of a backup is a store like others")
		restart(t, v)
	})
}

// The order is the same for all, whoever speaks, and each socket gets the
// messages of one replica and what the replica sends to it alone in the order
// in which they were sent.
func TestDurable_OneOrderOverAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &fixture.OwnerHooks{
			History: durable, MaxSockets: 1,
			Message: func(_ context.Context, o fixture.Owner, s *dog.Socket, m dog.Message) error {
				if err := s.Send("alone " + m.String()); err != nil {
					return err
				}
				return o.Broadcast(m)
			},
		}
		d := dogtest.NewDisk(t)
		v := fixture.NewOwners(t, "a replica", dog.Options{Store: d}, on)
		var clients []*client
		for i := range 4 {
			clients = append(clients, dial(t, v.Server, fmt.Sprint(i), ""))
		}
		for i := range 100 {
			for k, c := range clients {
				c.Send(fmt.Sprint("m\n", k, " ", i))
			}
		}
		synctest.Wait()
		var order []string
		for k, c := range clients {
			var all []string
			alone := map[string]bool{}
			for _, m := range c.messages() {
				if text, is := strings.CutPrefix(m, "alone "); is {
					alone[text] = true
					continue
				}
				if strings.HasPrefix(m, fmt.Sprint(k, " ")) {
					require.True(t, alone[m], "sent alone before it was sent to all")
				}
				all = append(all, m)
			}
			require.Len(t, all, 400)
			if order == nil {
				order = all
			}
			require.Equal(t, order, all)
		}
		d.Crash()
		v = fixture.NewOwners(t, "a replica", dog.Options{Store: d}, on)
		eve := dial(t, v.Server, "eve", "&after=")
		synctest.Wait()
		require.Equal(t, order, eve.messages())
		restart(t, v)
	})
}

// What belongs to nobody's turn is kept as well: from outside, from a goroutine
// of the program, while the handler waits.
func TestDurable_KeepsWhatIsSentOutsideATurn(t *testing.T) {
	on := telling()
	on.Message = func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
		if err := o.Broadcast("before"); err != nil {
			return err
		}
		if err := dog.Await(ctx, func() error { return o.Broadcast("during") }); err != nil {
			return err
		}
		return o.Broadcast("after")
	}
	onDisk(t, on, func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		ada.Send("m\ngo")
		for _, want := range []string{"before", "during", "after"} {
			require.Equal(t, want, ada.message())
		}
		require.NoError(t, v.Broadcast(t.Context(), "outside"))
		d.Crash()
		v = start()
		ada = dial(t, v.Server, "ada", "&after=")
		for _, want := range []string{"before", "during", "after", "outside"} {
			require.Equal(t, want, ada.message())
		}
		restart(t, v)
	})
}

func TestDurable_MessageToAUIDThatIsAwayWaitsForIt(t *testing.T) {
	on := telling()
	on.Message = func(ctx context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
		n, err := fixture.Whisper(ctx, o, "eve", m)
		if err == nil && n != 0 {
			err = errors.New("somebody is there")
		}
		return err
	}
	onDisk(t, on, func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", session)
		ada.Send("m1\nfor eve")
		require.Equal(t, "1", ada.ack())
		d.Crash()
		v = start()
		ada, eve := dial(t, v.Server, "ada", "&after="), dial(t, v.Server, "eve", "&after=")
		require.Equal(t, "for eve", eve.message())
		synctest.Wait()
		require.Empty(t, ada.messages())
		restart(t, v)
	})
}

// A full disk refuses messages with an error, and loses and sends none.
func TestDurable_FullDiskRefusesMessages(t *testing.T) {
	on := telling()
	errs := make(chan error, 1)
	on.Message = func(_ context.Context, o fixture.Owner, _ *dog.Socket, m dog.Message) error {
		err := o.Broadcast(m)
		errs <- err
		return err
	}
	onDisk(t, on, func(t *testing.T, d *dogtest.Disk, start func() *fixture.Owners) {
		v := start()
		ada := dial(t, v.Server, "ada", "")
		d.Fill()
		time.Sleep(time.Minute)
		synctest.Wait()
		ada.Send("m\na")
		require.ErrorIs(t, <-errs, dog.ErrStoreFull)
		require.ErrorIs(t, v.Broadcast(t.Context(), "from outside"), dog.ErrStoreFull)
		d.Free()
		time.Sleep(time.Minute)
		synctest.Wait()
		ada.Send("m\nb")
		require.NoError(t, <-errs)
		require.Equal(t, "b", ada.message())
		restart(t, v)
	})
}
