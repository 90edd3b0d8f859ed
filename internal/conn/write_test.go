package conn_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// received is what a member of a set got, as "sender number" texts.
type received struct {
	c    *conn.Conn
	p    *peer
	read *reading
	msgs []string
	done chan struct{}
}

// listen collects texts until the connection ends, pausing now and then so that
// the kernel's buffers fill.
func (r *received) listen(rnd *rand.Rand) {
	defer close(r.done)
	for {
		if rnd != nil && rnd.IntN(400) == 0 {
			time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond) // no test waits for it: a slow peer is slow
		}
		f, err := r.p.read()
		if err != nil {
			return
		}
		if f.op == 1 {
			r.msgs = append(r.msgs, strings.TrimRight(f.payload, "."))
		}
		if f.op == opClose {
			_, _ = r.p.Write(masked(fin|opClose, f.payload))
		}
	}
}

func overNetworkMember(t *testing.T, c *conn.Conn, p *peer, rnd *rand.Rand) *received {
	r := &received{c: c, p: p, read: startReading(c), done: make(chan struct{})}
	go r.listen(rnd)
	return r
}

// Each message of a sender reaches each of its recipients once and in order,
// whether it is sent to all, to all but one, or to one alone. Members are slow
// now and then, so all kinds of writers take turns.
func TestWrite_OrderAcrossSendAndBroadcast(t *testing.T) {
	const members, senders, each = 12, 4, 400
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		s := conn.Set{Writers: conn.NewWriters(nil)}
		var all []*received
		for i := range members {
			c, p := dial(&conn.Options{QueueBytes: 64 << 20})
			c.Owner = fmt.Sprint("m", i%(members-2)) // some owners have two
			all = append(all, overNetworkMember(t, c, p, rand.New(rand.NewPCG(7, uint64(i)))))
			s.Add(c)
		}
		want := make([][][]string, members) // by member and sender
		for i := range want {
			want[i] = make([][]string, senders)
		}
		var sending sync.WaitGroup
		for k := range senders {
			sending.Go(func() {
				rnd := rand.New(rand.NewPCG(9, uint64(k)))
				for i := range each {
					m := fmt.Sprintf("%d %d", k, i)
					f := conn.NewFrame(conn.Text, []byte(m+strings.Repeat(".", rnd.IntN(3000))))
					switch rnd.IntN(3) {
					case 0:
						s.Send(f, "", conn.Except{})
						for j := range all {
							want[j][k] = append(want[j][k], m)
						}
					case 1:
						except := fmt.Sprint("m", rnd.IntN(members-2))
						s.Send(f, "", conn.Except{Owner: except})
						for j, r := range all {
							if r.c.Owner != except {
								want[j][k] = append(want[j][k], m)
							}
						}
					default:
						j := rnd.IntN(members)
						if err := all[j].c.Send(f, ""); err != nil {
							t.Errorf("send: %v", err)
						}
						want[j][k] = append(want[j][k], m)
					}
				}
			})
		}
		sending.Wait()
		s.Close(farewell(t, 1000, ""))
		for j, r := range all {
			<-r.done
			requireEnd(t, r.read, 1000, "", nil)
			got := make([][]string, senders)
			for _, m := range r.msgs {
				var k, i int
				_, err := fmt.Sscanf(m, "%d %d", &k, &i)
				require.NoError(t, err)
				got[k] = append(got[k], m)
			}
			require.Equal(t, want[j], got)
			st := r.c.Stats()
			require.EqualValues(t, len(r.msgs), st.MessagesOut)
			require.Zero(t, st.QueuedBytes+int(st.Lost+st.Dropped))
			require.True(t, s.Remove(r.c))
		}
	})
}

// A member gets exactly the messages that are sent between its joining and its
// leaving.
func TestWrite_JoinAndLeave(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		s := conn.Set{Writers: conn.NewWriters(nil)}
		constant, p := dial(nil)
		s.Add(constant)
		witness := overNetworkMember(t, constant, p, nil)
		stop := make(chan struct{})
		var talking sync.WaitGroup
		var latest atomic.Int64 // the latest message that all members of the time will get
		talking.Go(func() {
			for i := int64(1); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				s.Send(conn.NewFrame(conn.Text, fmt.Append(nil, i)), "", conn.Except{})
				latest.Store(i)
			}
		})
		for range 10 {
			c, p := dial(nil)
			r := overNetworkMember(t, c, p, nil)
			before := latest.Load()
			s.Add(c)
			after := latest.Load() + 1 // one may be on its way
			for latest.Load() < after+20 {
				time.Sleep(10 * time.Microsecond) // lets the talking go on
			}
			least := latest.Load()
			require.True(t, s.Remove(c))
			require.NoError(t, c.Close(1000, ""))
			<-r.done
			requireEnd(t, r.read, 1000, "", nil)
			var first, last, n int64
			for _, m := range r.msgs {
				_, err := fmt.Sscan(m, &last)
				require.NoError(t, err)
				if n++; n == 1 {
					first = last
				}
				require.Equal(t, first+n-1, last, "one after the other")
			}
			require.Greater(t, first, before)
			require.LessOrEqual(t, first, after+1)
			require.GreaterOrEqual(t, last, least)
		}
		close(stop)
		talking.Wait()
		s.Close(farewell(t, 1000, ""))
		<-witness.done
		requireEnd(t, witness.read, 1000, "", nil)
		require.Len(t, witness.msgs, int(latest.Load()))
	})
}

// Members that do not read are dealt with by their policies; the others get
// everything. Whatever happens, every message is accounted for.
func TestWrite_SlowMembers(t *testing.T) {
	const messages, size, bound, spare = 4000, 4000, 100_000, 8 << 20
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		s := conn.Set{Writers: conn.NewWriters(nil)}
		healthy, p := dial(&conn.Options{QueueBytes: messages * 2 * size})
		s.Add(healthy)
		ear := overNetworkMember(t, healthy, p, nil)

		type stuck struct {
			c    *conn.Conn
			p    *peer
			read *reading
		}
		slow := make(map[conn.Policy]stuck)
		closing := map[conn.Policy]time.Duration{conn.Disconnect: 100 * time.Millisecond} // for one that never reads
		for _, policy := range []conn.Policy{conn.Disconnect, conn.DropOldest, conn.Coalesce} {
			c, p := dial(
				&conn.Options{
					QueueBytes: bound, Slow: policy, Moment: time.Millisecond, WriteTimeout: time.Hour,
					CloseTimeout: closing[policy],
				},
			)
			slow[policy] = stuck{c, p, startReading(c)}
			s.Add(c)
		}
		for i := range messages {
			s.Send(
				conn.NewFrame(conn.Text, fmt.Appendf(nil, "%d%s", i, strings.Repeat(".", size))), "key", conn.Except{},
			)
			for _, st := range slow {
				require.LessOrEqual(
					t, st.c.Stats().QueuedBytes, bound+spare+1<<20, "what waits is bounded, the shard's log included",
				)
			}
		}
		// What the policy promises of those that could not take it.
		requireEnd(t, slow[conn.Disconnect].read, 1008, "slow consumer", conn.ErrSlow)
		require.Positive(t, slow[conn.Disconnect].c.Stats().Lost)
		for _, policy := range []conn.Policy{conn.DropOldest, conn.Coalesce} {
			st := slow[policy]
			r := &received{c: st.c, p: st.p, read: st.read, done: make(chan struct{})}
			go r.listen(nil) // now it reads
			last := fmt.Sprint(messages - 1)
			require.NoError(t, st.c.Send(conn.NewFrame(conn.Text, []byte("end")), ""))
			require.NoError(t, st.c.Close(1000, ""))
			<-r.done
			requireEnd(t, st.read, 1000, "", nil)
			stats := st.c.Stats()
			require.Equal(t, []string{last, "end"}, r.msgs[len(r.msgs)-2:], "the newest survives")
			numbers := r.msgs[:len(r.msgs)-1]
			require.True(
				t,
				slices.IsSortedFunc(
					numbers, func(a, b string) int { return len(a)*10 - len(b)*10 + strings.Compare(a, b) },
				),
				"in order",
			)
			require.EqualValues(t, messages+1, stats.MessagesOut+stats.Dropped+stats.Coalesced+stats.Lost)
			require.EqualValues(t, len(r.msgs), stats.MessagesOut)
			require.Positive(t, stats.Dropped+stats.Coalesced)
		}
		s.Close(farewell(t, 1000, ""))
		<-ear.done
		requireEnd(t, ear.read, 1000, "", nil)
		require.Len(t, ear.msgs, messages)
		slow[conn.Disconnect].p.Close()
	})
}

// Nobody is taken for slow whose kernel would have taken more, however small
// the queue: messages that are sent faster than they are written.
func TestWrite_BurstIsNotSlow(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(&conn.Options{QueueBytes: 1000})
		var held []func()
		s := conn.Set{Writers: conn.NewWriters(func(f func()) { held = append(held, f) })}
		c.Owner = "me"
		s.Add(c)
		read := startReading(c)
		f := conn.NewFrame(conn.Text, make([]byte, 98))
		for range 50 {
			s.Send(f, "", conn.Except{})
			s.Send(f, "", conn.Except{Owner: "me"})
			require.NoError(t, c.Send(f, ""))
		}
		require.NoError(t, c.Close(1000, ""))
		require.Len(t, held, 1)
		held[0]()
		for range 100 {
			require.Len(t, p.next().payload, 98)
		}
		require.Equal(t, closeFrame(1000, ""), p.next())
		p.sendClose(1000, "")
		p.requireEOF()
		requireEnd(t, read, 1000, "", nil)
	})
}

// A sender that sends more than the machine writes waits for the writers only.
func TestWrite_SendersWaitForWriters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := make(chan struct{})
		s := conn.Set{Writers: conn.NewWriters(func(f func()) {
			go func() {
				<-start
				f()
			}()
		})}
		c, p := pipe(t, &conn.Options{QueueBytes: 1 << 20})
		s.Add(c)
		read := startReading(c)
		f := conn.NewFrame(conn.Binary, bytes.Repeat([]byte{'x'}, 64<<10))
		sent := 0
		go func() {
			for range 12 {
				s.Send(f, "", conn.Except{})
				sent++
			}
		}()
		synctest.Wait()
		require.Equal(t, 7, sent, "more than 512 KiB wait")
		close(start) // the peer still takes nothing
		synctest.Wait()
		require.Equal(t, 12, sent)
		for range 12 {
			p.next()
		}
		p.sendClose(1000, "")
		p.next()
		requireEnd(t, read, 1000, "", nil)
	})
}

// A set is swept as a whole before the next one has its turn, and none has to
// wait for a second round of another.
func TestWriters_TakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held []func()
		w := conn.NewWriters(func(f func()) { held = append(held, f) })
		var peers []*peer
		var reads []*reading
		var sets [3]conn.Set
		for i := range sets {
			sets[i].Writers = w
			c, p := pipe(t, nil)
			sets[i].Add(c)
			peers, reads = append(peers, p), append(reads, startReading(c))
		}
		for i := range sets {
			for range 3 {
				sets[i].Send(conn.NewFrame(conn.Text, fmt.Append(nil, i)), "", conn.Except{})
			}
		}
		require.LessOrEqual(t, len(held), len(sets))
		for _, f := range held {
			go f()
		}
		for i, p := range peers {
			for range 3 {
				require.Equal(t, text(fmt.Sprint(i)), p.next())
			}
			p.sendClose(1000, "")
			p.next()
			requireEnd(t, reads[i], 1000, "", nil)
		}
	})
}

// What a handler answers leaves before anybody else has to run.
func TestWrite_ReplyIsWrittenAtOnce(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		c, p := dial(nil)
		if conn.Direct(c) {
			s := conn.Set{Writers: conn.NewWriters(func(func()) { t.Error("a reply needs no writer") })}
			s.Add(c)
		}
		for range 3 {
			p.send(fin|1, "question")
			_, _, err := c.Read()
			require.NoError(t, err)
			send(t, c, "answer")
			require.Equal(t, text("answer"), p.next())
		}
		p.sendClose(1000, "")
		read := startReading(c)
		require.Equal(t, []frame{closeFrame(1000, "")}, p.frames())
		requireEnd(t, read, 1000, "", nil)
	})
}
