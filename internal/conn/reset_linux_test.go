package conn_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/conn"
)

// resets are the ways in which a peer that has sent everything leaves TCP
// without an end of its stream.
var resets = map[string]func(t *testing.T, c *conn.Conn, p *peer){
	"resets": func(t *testing.T, _ *conn.Conn, p *peer) {
		require.NoError(t, tcpOf(p).SetLinger(0))
	},
	"hangs up on a message that it has not read": func(t *testing.T, c *conn.Conn, p *peer) {
		require.NoError(t, c.Send(conn.NewFrame(conn.Binary, make([]byte, 200_000)), ""))
		_, err := p.br.ReadByte() // the rest is in its kernel
		require.NoError(t, err)
	},
}

func tcpOf(p *peer) *net.TCPConn {
	if secure, ok := p.Conn.(*tls.Conn); ok {
		return secure.NetConn().(*net.TCPConn)
	}
	return p.Conn.(*net.TCPConn)
}

// What lies in our kernel when the peer resets TCP is heard, and so is how the
// peer has ended the connection, even if nothing can be answered any more.
func TestEnds_ResetKeepsWhatArrivedBefore(t *testing.T) {
	overNetwork(t, func(t *testing.T, dial func(*conn.Options) (*conn.Conn, *peer)) {
		for how, reset := range resets {
			for _, n := range []int{0, 1, 1000} {
				for _, answers := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%d/answers %v", how, n, answers), func(t *testing.T) {
						c, p := dial(&conn.Options{CloseTimeout: time.Hour, WriteTimeout: time.Hour})
						if _, unix := p.Conn.(*net.UnixConn); unix {
							t.Skip("it has no resets")
						}
						var want []string
						var sent []byte
						for i := range n {
							want = append(want, fmt.Sprint(i, " has been heard, in spite of all"))
							sent = append(sent, masked(fin|1, want[i])...)
						}
						sent = append(sent, masked(fin|opClose, closeFrame(1001, "left").payload)...)
						reset(t, c, p)
						p.sendRaw(sent) // less than a window, so that our kernel has it
						require.NoError(t, tcpOf(p).Close())

						var got []string
						var end *conn.CloseError
						for end == nil {
							_, data, err := c.Read()
							if err != nil {
								require.ErrorAs(t, err, &end)
								break
							}
							got = append(got, string(data))
							if answers {
								_ = c.Send(conn.NewFrame(conn.Text, data), "")
							}
						}
						c.Wait()
						require.Equal(t, want, got)
						require.Equal(t, 1001, end.Code, "%v", end)
						require.Equal(t, "left", end.Reason)
					})
				}
			}
		}
	})
}
