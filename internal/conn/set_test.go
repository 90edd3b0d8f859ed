package conn_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

func TestSet_Members(t *testing.T) {
	s := conn.Set{Writers: conn.NewWriters(nil)}
	require.Zero(t, s.Len())
	s.Send(conn.NewFrame(conn.Text, nil), "", conn.Except{})
	var all []*conn.Conn
	for range 3 {
		c, p := pipe(t, nil)
		read := startReading(c)
		all = append(all, c)
		t.Cleanup(func() {
			p.Close()
			read.end(t)
		})
	}
	require.False(t, s.Remove(all[0]))
	for _, c := range append(all, all...) {
		s.Add(c)
	}
	require.Equal(t, 3, s.Len())
	for c := range s.Each() { // a snapshot: the set may change meanwhile
		require.True(t, s.Remove(c))
		require.False(t, s.Remove(c))
		if c != all[0] {
			s.Add(c)
		}
	}
	require.ElementsMatch(t, all[1:], slices.Collect(s.Each()))
	for range s.Each() {
		break
	}
}

func TestSet_Send(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := conn.Set{Writers: conn.NewWriters(nil)}
		var reads []*reading
		var peers []*peer
		for _, owner := range []string{"ann", "ben", "ann", ""} {
			c, p := pipe(t, &conn.Options{QueueBytes: 20})
			c.Owner = owner
			s.Add(c)
			peers, reads = append(peers, p), append(reads, startReading(c))
		}
		f := func(i int) *conn.Frame { return conn.NewFrame(conn.Text, []byte(ten(i))) }
		s.Send(f(1), "", conn.Except{})
		s.Send(f(2), "", conn.Except{Owner: "ann"})
		require.Equal(t, text(ten(1)), peers[1].next())
		require.Equal(t, text(ten(2)), peers[1].next())
		for _, i := range []int{0, 2} {
			require.Equal(t, text(ten(1)), peers[i].next())
		}
		time.Sleep(moment)
		// The last has taken nothing, and there is no more room. The second
		// vanishes.
		s.Send(f(3), "", conn.Except{})
		require.Equal(t, text(ten(3)), peers[1].next())
		synctest.Wait()
		peers[1].Close()
		requireEnd(t, reads[1], 1006, "", io.ErrUnexpectedEOF)
		s.Send(f(4), "", conn.Except{})
		for _, i := range []int{0, 2} {
			require.Equal(t, text(ten(3)), peers[i].next())
			require.Equal(t, text(ten(4)), peers[i].next())
		}
		synctest.Wait()

		s.Close(farewell(t, 1001, "over"))
		s.Send(f(5), "", conn.Except{})
		for _, i := range []int{0, 2} {
			require.Equal(t, closeFrame(1001, "over"), peers[i].next())
			peers[i].sendClose(1001, "")
			requireEnd(t, reads[i], 1001, "over", nil)
		}
		require.Equal(t, text(ten(1)), peers[3].next())
		require.Equal(t, closeFrame(1008, "slow consumer"), peers[3].next())
		peers[3].sendClose(1008, "")
		requireEnd(t, reads[3], 1008, "slow consumer", conn.ErrSlow)
	})
}

// Several senders over real sockets: all members see one and the same sequence,
// with each sender's messages in the order sent.
func TestSet_Order(t *testing.T) {
	const members, senders, each = 8, 4, 300
	s := conn.Set{Writers: conn.NewWriters(nil)}
	accepted := make(chan *conn.Conn, members)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := conn.Accept(w, r, &conn.Options{QueueBytes: 16 << 20}); err == nil {
			c.Start()
			accepted <- c
		}
	}))
	defer srv.Close()

	var clients, readers sync.WaitGroup
	got := make([][]string, members)
	for i := range members {
		client, _, err := websocket.Dial(t.Context(), srv.URL, nil)
		require.NoError(t, err)
		clients.Go(func() {
			defer client.CloseNow()
			for {
				_, data, err := client.Read(t.Context())
				if err != nil {
					return
				}
				got[i] = append(got[i], string(data))
			}
		})
		c := <-accepted
		s.Add(c)
		readers.Go(func() {
			startReading(c).end(t)
		})
	}
	var sending sync.WaitGroup
	for k := range senders {
		sending.Go(func() {
			for i := range each {
				s.Send(conn.NewFrame(conn.Text, fmt.Appendf(nil, "%d %d", k, i)), "", conn.Except{})
			}
		})
	}
	sending.Wait()
	s.Close(farewell(t, 1000, ""))
	clients.Wait()
	readers.Wait()
	require.Len(t, got[0], senders*each)
	next := make([]int, senders)
	for _, m := range got[0] {
		var k, i int
		_, err := fmt.Sscanf(m, "%d %d", &k, &i)
		require.NoError(t, err)
		require.Equal(t, next[k], i)
		next[k]++
	}
	for i := range members {
		require.Equal(t, got[0], got[i])
	}
}
