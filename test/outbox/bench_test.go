package outbox_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/pipe"
)

// hundred returns a body of 100 bytes that does not compress.
func hundred() string { return rand.Text() + rand.Text() + rand.Text() + rand.Text()[:22] }

// benchDevices returns devices with a store in a directory.
func benchDevices(b *testing.B, dir string) (*dog.Runtime, *dog.Namespace[Device]) {
	b.Helper()
	rt, err := dog.New(dog.Options{Store: disk.At(dir)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	devices, err := dog.RegisterObject[Device](rt, "device", nil)
	require.NoError(b, err)
	rt.Start()
	return rt, devices
}

// BenchmarkPut puts durable commands of 100 bytes to 1,024 devices that are
// away, from 1,024 goroutines.
func BenchmarkPut(b *testing.B) {
	const devices = 1024
	_, ns := benchDevices(b, b.TempDir())
	c := command{body: hundred()}
	var next atomic.Int64
	var putting sync.WaitGroup
	put := func(device string) error {
		_, err := dog.Call(context.Background(), ns.Named(device), (*Device).Put, c)
		return err
	}
	for i := range devices {
		putting.Go(func() {
			if err := put(strconv.Itoa(i)); err != nil {
				b.Error(err)
			}
		})
	}
	putting.Wait()
	b.ResetTimer()
	for i := range devices {
		putting.Go(func() {
			for n := 0; next.Add(1) <= int64(b.N); n++ {
				// 900 commands a device fit into a queue.
				device := strconv.Itoa(i) + "/" + strconv.Itoa(n/900)
				if n < 900 {
					device = strconv.Itoa(i)
				}
				if err := put(device); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	putting.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkDiskPerCommand reports how many bytes on the disk a device with one
// command of 100 bytes takes, once the store has been compacted by a backup.
func BenchmarkDiskPerCommand(b *testing.B) {
	for b.Loop() {
		for _, each := range []int{1, 100} {
			const devices = 2000
			rt, ns := benchDevices(b, b.TempDir())
			var putting sync.WaitGroup
			for worker := range 64 {
				putting.Go(func() {
					for i := worker; i < devices; i += 64 {
						for range each {
							c := command{body: hundred()}
							to := ns.Named(fmt.Sprint("device-", i))
							if _, err := dog.Call(context.Background(), to, (*Device).Put, c); err != nil {
								b.Error(err)
							}
						}
					}
				})
			}
			putting.Wait()
			dir := filepath.Join(b.TempDir(), "backup")
			require.NoError(b, rt.Backup(b.Context(), dir))
			size := int64(0)
			require.NoError(b, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
				if err != nil || e.IsDir() {
					return err
				}
				info, err := os.Stat(path)
				if err == nil {
					size += info.Size()
				}
				return err
			}))
			b.ReportMetric(float64(size)/float64(devices*each), fmt.Sprintf("B/command-of-%d", each))
		}
	}
}

// BenchmarkDrain lets 10,000 devices with a command each come back, at most 64
// at a time in their handshakes, and carry it out.
func BenchmarkDrain(b *testing.B) {
	const devices = 10_000
	_, ns := benchDevices(b, b.TempDir())
	listener := pipe.New()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ns.Named(r.FormValue("d")).WithUID("dev").ServeHTTP(w, r)
		}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	b.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	for b.Loop() {
		b.StopTimer()
		each(devices, func(i int) error {
			_, err := dog.Call(context.Background(), ns.Named(strconv.Itoa(i)), (*Device).Put, command{body: hundred()})
			return err
		}, b)
		conns := make([]*websocket.Conn, devices)
		began := time.Now()
		b.StartTimer()
		each(devices, func(i int) (err error) {
			conns[i], err = carryOutOne(listener, i)
			return err
		}, b)
		b.StopTimer()
		b.ReportMetric(time.Since(began).Seconds(), "s/10000")
		each(devices, func(i int) error { return conns[i].CloseNow() }, b)
		b.StartTimer()
	}
}

// each calls f for so many numbers, 64 at a time.
func each(n int, f func(i int) error, b *testing.B) {
	b.Helper()
	var working sync.WaitGroup
	for worker := range 64 {
		working.Go(func() {
			for i := worker; i < n; i += 64 {
				if err := f(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	working.Wait()
}

// carryOutOne connects a device and lets it carry out a command.
func carryOutOne(listener *pipe.Listener, i int) (*websocket.Conn, error) {
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, "http://dog.test/?d="+strconv.Itoa(i), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.Dial(ctx) },
		}},
		Subprotocols: []string{"dog.v1"},
	})
	if err != nil {
		return nil, err
	}
	if err := ws.Write(ctx, websocket.MessageText, []byte("y")); err != nil {
		return nil, err
	}
	for {
		_, data, err := ws.Read(ctx)
		if err != nil {
			return nil, err
		}
		var number, epoch string
		if n, _ := fmt.Sscanf(string(data), "c%s %s", &number, &epoch); n == 2 {
			return ws, ws.Write(ctx, websocket.MessageText, fmt.Appendf(nil, "r%s %s done\n", number, epoch))
		}
	}
}
