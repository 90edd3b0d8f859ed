package dogtest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type cafe struct{ dog.Group }

type table struct{ dog.Replica }

func (t *table) Receive(w http.ResponseWriter, req *http.Request) error {
	if req.URL.Path != "/sit" {
		http.NotFound(w, req)
		return nil
	}
	_, err := t.Connect(w, req, &dog.SocketOptions{Subprotocols: []string{"tea"}, QueueBytes: 1000})
	return err
}

func (t *table) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	if m.String() == "bye" {
		return s.Close(4000, "see you")
	}
	return s.Send(m)
}

// newCafe is the program under test.
func newCafe(t *testing.T, rt *dog.Runtime) http.Handler {
	t.Helper()
	tables, err := dog.RegisterReplica[table](rt, "table", nil)
	require.NoError(t, err)
	cafes, err := dog.RegisterGroup(rt, "cafe", tables, &dog.GroupOptions[cafe]{Limit: 4})
	require.NoError(t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		stub, err := cafes.Named("corner").Identify(req.Context(), req.URL.Query().Get("guest"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	})
}

func TestServer_RunsAServiceInASynctestBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		srv := dogtest.Serve(t, newCafe(t, rt))

		status, _ := srv.Get("/stand?guest=ada")
		require.Equal(t, http.StatusNotFound, status)
		_, answer, err := srv.TryDial("/sit", dogtest.DialOptions{})
		require.Error(t, err)
		require.Equal(t, http.StatusBadRequest, answer.StatusCode, "a guest has a name")

		ada := srv.DialWith("/sit?guest=ada", dogtest.DialOptions{Subprotocols: []string{"coffee", "tea"}})
		require.Equal(t, "tea", ada.Subprotocol())
		ada.Send(map[string]int{"cups": 2})
		var order struct{ Cups int }
		ada.ReceiveJSON(&order)
		require.Equal(t, 2, order.Cups)
		ada.Send([]byte{1, 2})
		require.Equal(t, dog.Message{Type: dog.Binary, Data: []byte{1, 2}}, ada.Receive())

		ada.Send("one")
		ada.Send("two")
		synctest.Wait()
		require.Len(t, ada.Received(), 2)
		require.Empty(t, ada.Received())

		ada.Send("bye")
		code, reason := ada.Closed()
		require.Equal(t, 4000, code)
		require.Equal(t, "see you", reason)
	})
}

func TestClient_OffersCompressionIfAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{Sockets: dog.SocketOptions{Compression: dog.CompressionOn}})
		srv := dogtest.Serve(t, newCafe(t, rt))
		for _, compress := range []bool{false, true} {
			c, resp, err := srv.TryDial("/sit?guest=ada", dogtest.DialOptions{Compress: compress})
			require.NoError(t, err)
			require.Equal(t, compress, resp.Header.Get("Sec-WebSocket-Extensions") != "")
			text := strings.Repeat("again and ", 50)
			c.Send(text)
			require.Equal(t, text, c.Receive().String())
		}
	})
}

func TestClient_CanBeSilentSlowOrVanish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		srv := dogtest.Serve(t, newCafe(t, rt))

		slow := srv.DialWith("/sit?guest=slow", dogtest.DialOptions{OnDemand: true})
		for range 5 {
			slow.Send(make([]byte, 400)) // comes back and is not read
		}
		time.Sleep(2 * time.Second) // it has a second in which to take something
		require.EqualValues(t, 1008, first(slow.Closed()))

		// a pipe has no buffer: not even a ping gets through
		srv.DialWith("/sit?guest=silent", dogtest.DialOptions{OnDemand: true})
		gone := srv.Dial("/sit?guest=gone")
		gone.Vanish()
		time.Sleep(time.Hour) // at once
		require.Zero(t, rt.Stats().Sockets)
		require.EqualValues(t, 2, rt.Stats().Slow, "the slow one and the silent one")
	})
}

func first(code int, _ string) int { return code }
