package main

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/client"
	"github.com/godurable/dog/dogtest"
)

// network leads clients to the chat that runs.
type network struct{ atomic.Pointer[dogtest.Server] }

// RoundTrip implements [http.RoundTripper].
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	return n.Load().Client().Transport.RoundTrip(r)
}

// Programs with package client write while the chat is restarted again and
// again. Everybody gets each line once, and in the same order.
func TestHistory_RestartsLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const people, each = 3, 40
		disk, to := dogtest.NewDisk(t), new(network)
		c := open(t, disk)
		to.Store(c.Server)
		var received [people][]string
		var writing, reading sync.WaitGroup
		for i := range people {
			p, err := client.New(fmt.Sprint(dogtest.URL, "/ws?u=person-", i), client.Options{
				HTTPClient: &http.Client{Transport: to}, MaxAge: time.Hour, After: new(string),
			})
			require.NoError(t, err)
			defer p.Close()
			writing.Go(func() {
				for n := range each {
					text := fmt.Sprint(i, "-", n)
					if err := p.Send(t.Context(), message{Type: "msg", Line: Line{Text: text, Key: text}}); err != nil {
						t.Errorf("%s: %v", text, err)
					}
					time.Sleep(rand.N(500 * time.Millisecond))
				}
			})
			reading.Go(func() {
				for len(received[i]) < people*each {
					event, err := p.Receive(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					var m message
					if e, ok := event.(client.Message); ok && json.Unmarshal(e.Data, &m) == nil && m.Type == "msg" {
						received[i] = append(received[i], m.Text)
					}
				}
			})
		}
		for range 10 {
			time.Sleep(rand.N(2 * time.Second))
			require.NoError(t, c.rt.Shutdown(t.Context()))
			c = open(t, disk)
			to.Store(c.Server)
		}
		writing.Wait()
		reading.Wait()
		for _, texts := range received {
			require.Equal(t, received[0], texts)
		}
		all := slices.Clone(received[0])
		slices.Sort(all)
		require.Len(t, slices.Compact(all), people*each, "none twice")
		log, err := dog.Call(t.Context(), c.log(), (*Log).Before, math.MaxInt64)
		require.NoError(t, err)
		require.Len(t, log.Lines, people*each)
	})
}
