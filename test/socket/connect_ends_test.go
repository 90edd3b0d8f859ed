package socket_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
	"github.com/godurable/dog/test/internal/fixture"
)

// hijacker is a ResponseWriter with a Hijack of its own.
type hijacker struct {
	http.ResponseWriter
	hijack func() (net.Conn, *bufio.ReadWriter, error)
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.hijack() }

// badHeader is a ResponseWriter without a header.
type badHeader struct{ http.ResponseWriter }

func (badHeader) Header() http.Header { panic("a bug") }

func TestSocket_AbandonedConnectReleasesItsPlace(t *testing.T) {
	for name, wrap := range map[string]func(w http.ResponseWriter) http.ResponseWriter{
		"an error of Hijack": func(w http.ResponseWriter) http.ResponseWriter {
			return hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("no") }}
		},
		"a panic in Hijack": func(w http.ResponseWriter) http.ResponseWriter {
			return hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) { panic("a bug") }}
		},
		"http.ErrAbortHandler in Hijack": func(w http.ResponseWriter) http.ResponseWriter {
			return hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) { panic(http.ErrAbortHandler) }}
		},
		"runtime.Goexit in Hijack": func(w http.ResponseWriter) http.ResponseWriter {
			return hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) { runtime.Goexit(); return nil, nil, nil }}
		},
		"a panic in Header": func(w http.ResponseWriter) http.ResponseWriter { return badHeader{w} },
	} {
		t.Run(name, func(t *testing.T) {
			fixture.ForEachReceiver(t, func(t *testing.T, kind string) {
				bad := true
				options, _ := fixture.LogToBuffer()
				receive := func(o fixture.Owner, w http.ResponseWriter, req *http.Request) error {
					if bad {
						w = wrap(w)
					}
					_, err := o.Connect(w, req, nil)
					return err
				}
				v := fixture.NewOwners(t, kind, options, &fixture.OwnerHooks{MaxSockets: 1, Receive: receive})
				_, _, err := v.Server.TryDial("/?u=ada", dogtest.DialOptions{})
				require.Error(t, err)
				bad = false
				v.Enter("ada").Vanish()
				time.Sleep(time.Hour)
				require.Empty(t, objectsOf(v.Runtime), "nothing keeps the object in memory")
			})
		})
	}
}

// objectsOf returns the objects in memory.
func objectsOf(rt *dog.Runtime) (all []dog.LiveObject) {
	for o := range rt.Objects() {
		all = append(all, o)
	}
	return all
}
