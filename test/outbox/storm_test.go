package outbox_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A storming connection is one of many of a device at the same time.
type storming struct {
	ws    *websocket.Conn
	codes chan websocket.StatusCode // how it ended

	mu   sync.Mutex
	come []frame // guarded by mu
}

// run acknowledges the commands that come.
func (c *storming) run(t *testing.T) {
	ctx := context.Background()
	_ = c.ws.Write(ctx, websocket.MessageText, []byte("y"))
	for {
		_, data, err := c.ws.Read(ctx)
		if err != nil {
			c.codes <- websocket.CloseStatus(err)
			return
		}
		for _, f := range framesOf(t, []dog.Message{{Data: data}}) {
			c.mu.Lock()
			c.come = append(c.come, f)
			c.mu.Unlock()
			_ = c.ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "r%d %s done\n", f.number, f.epoch))
		}
	}
}

// A device that connects many times at once keeps one connection, which gets
// the commands.
func TestAttach_StormLeavesOneConnection(t *testing.T) {
	for range 10 {
		synctest.Test(t, func(t *testing.T) {
			const dials, commands = 50, 20
			s := open(t, setup{store: dogtest.NewDisk(t)})
			var dialing, running sync.WaitGroup
			all := make([]*storming, dials)
			for i := range all {
				c := &storming{codes: make(chan websocket.StatusCode, 1)}
				all[i] = c
				dialing.Go(func() {
					ws, _, err := websocket.Dial(t.Context(), dogtest.URL+"/?d=d&u=dev", &websocket.DialOptions{
						HTTPClient: s.server.Client(), Subprotocols: []string{"dog.v1"},
					})
					if !assert.NoError(t, err) {
						return
					}
					c.ws = ws
					running.Go(func() { c.run(t) })
				})
			}
			dialing.Wait()
			synctest.Wait()
			var stays []*storming
			for _, c := range all {
				select {
				case code := <-c.codes:
					require.EqualValues(t, 4001, code)
					require.Empty(t, c.come)
				default:
					stays = append(stays, c)
				}
			}
			require.Len(t, stays, 1)
			for i := range commands {
				s.put(body(i))
			}
			synctest.Wait()
			require.Empty(t, s.waiting())
			require.Len(t, stays[0].come, commands)
			for i, f := range stays[0].come {
				require.Equal(t, body(i), f.body)
				require.Equal(t, i+1, f.number)
			}
			require.NoError(t, stays[0].ws.CloseNow())
			running.Wait()
		})
	}
}
