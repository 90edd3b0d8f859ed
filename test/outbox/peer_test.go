package outbox_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// A peer is the connection of a device, which may have ended without notice.
type peer struct {
	t  *testing.T
	ws *websocket.Conn

	mu   sync.Mutex
	come []dog.Message // guarded by mu
}

// dial connects the device, which takes commands at once. It returns nil if the
// disk has failed and the server refuses the device.
func (w *world) dial() *peer {
	ws, _, err := websocket.Dial(w.t.Context(), dogtest.URL+"/?d=d&u=dev", &websocket.DialOptions{
		HTTPClient: w.s.server.Client(), Subprotocols: []string{"dog.v1"},
	})
	if w.cut && err != nil {
		return nil
	}
	require.NoError(w.t, err)
	p := &peer{t: w.t, ws: ws}
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			_, data, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			p.mu.Lock()
			p.come = append(p.come, dog.Message{Type: dog.Text, Data: data})
			p.mu.Unlock()
		}
	})
	w.t.Cleanup(func() {
		p.vanish()
		reading.Wait()
	})
	p.send("y")
	return p
}

// vanish cuts the connection.
func (p *peer) vanish() { _ = p.ws.CloseNow() }

// send sends a message, which may be lost.
func (p *peer) send(text string) {
	_ = p.ws.Write(context.Background(), websocket.MessageText, []byte(text))
	synctest.Wait()
}

// frames returns the commands that have arrived since the last call.
func (p *peer) frames() []frame {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	come := p.come
	p.come = nil
	return framesOf(p.t, come)
}
