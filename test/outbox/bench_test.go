package outbox_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// Plain is an object that stores what a queue must store at the least, each
// command under a key of its own, and knows nothing else of commands. It is
// what a queue is compared with.
type Plain struct {
	dog.Object
	last int
}

func (p *Plain) OnStart(context.Context) error {
	for e, err := range p.Storage().List(dog.ListOptions{Reverse: true, Limit: 1}) {
		if err != nil {
			return err
		}
		if p.last, err = strconv.Atoi(e.Key); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plain) Put(_ context.Context, body string) (int, error) {
	p.last++
	return p.last, p.Storage().Put(fmt.Sprintf("%014d", p.last), []byte(body))
}

func (p *Plain) OnMessage(_ context.Context, s *dog.Socket, m dog.Message) error {
	if number, replies := strings.CutPrefix(m.String(), "r"); replies {
		number, _, _ = strings.Cut(number, " ")
		_, err := p.Storage().Delete(number)
		return err
	}
	for e, err := range p.Storage().List(dog.ListOptions{Limit: 1}) {
		if err != nil {
			return err
		}
		return s.Send(fmt.Sprintf("c%s %s", e.Key, e.Value))
	}
	return nil
}

// Empty reports whether nothing is stored.
func (p *Plain) Empty(context.Context) (bool, error) {
	for _, err := range p.Storage().List(dog.ListOptions{Limit: 1}) {
		return false, err
	}
	return true, nil
}

// Empty reports whether no command waits.
func (d *Device) Empty(context.Context) (bool, error) {
	status, err := d.Commands.Status()
	return status.Waiting == 0, err
}

// A fleet is devices of one type, with a store in a directory.
type fleet struct {
	rt    *dog.Runtime
	put   func(device string) error
	empty func(device string) (bool, error) // nothing waits for the device
	stub  func(device string) http.Handler

	protocols []string // of the devices
}

// fleets are the types that are compared.
var fleets = []struct {
	name string
	open func(b *testing.B, dir string) fleet
}{{"queue", openQueues}, {"plain", openPlain}}

func openStore(b *testing.B, dir string) *dog.Runtime {
	b.Helper()
	rt, err := dog.New(dog.Options{Store: disk.At(dir)})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, rt.Shutdown(context.Background())) })
	return rt
}

func openQueues(b *testing.B, dir string) fleet {
	b.Helper()
	rt := openStore(b, dir)
	devices, err := dog.RegisterObject[Device](rt, "device", nil)
	require.NoError(b, err)
	rt.Start()
	return fleet{rt, func(device string) error {
		_, err := dog.Call(context.Background(), devices.Named(device), (*Device).Put, command{body: hundred()})
		return err
	}, func(device string) (bool, error) {
		return dog.Call0(context.Background(), devices.Named(device), (*Device).Empty)
	}, func(device string) http.Handler { return devices.Named(device).WithUID("dev") }, []string{"dog.v1"}}
}

func openPlain(b *testing.B, dir string) fleet {
	b.Helper()
	rt := openStore(b, dir)
	devices, err := dog.RegisterObject[Plain](rt, "plain", nil)
	require.NoError(b, err)
	rt.Start()
	return fleet{rt, func(device string) error {
		_, err := dog.Call(context.Background(), devices.Named(device), (*Plain).Put, hundred())
		return err
	}, func(device string) (bool, error) {
		return dog.Call0(context.Background(), devices.Named(device), (*Plain).Empty)
	}, func(device string) http.Handler { return devices.Named(device).WithUID("dev") }, nil}
}

// BenchmarkPut puts durable commands of 100 bytes to 1,024 devices that are
// away and in memory, from 1,024 goroutines.
func BenchmarkPut(b *testing.B) {
	for _, of := range fleets {
		b.Run(of.name, func(b *testing.B) {
			f := of.open(b, b.TempDir())
			const devices = 1024
			each(devices, devices, func(i int) error { return f.put(strconv.Itoa(i)) }, b)
			b.ResetTimer()
			each(devices, b.N, func(i int) error {
				device := strconv.Itoa(i % devices)
				if full := i / devices / 900; full > 0 { // 900 commands a device fit into a queue
					device += fmt.Sprint("/", full)
				}
				return f.put(device)
			}, b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// BenchmarkPutFirst puts a command to each of b.N new devices.
func BenchmarkPutFirst(b *testing.B) {
	for _, of := range fleets {
		b.Run(of.name, func(b *testing.B) {
			f := of.open(b, b.TempDir())
			b.ResetTimer()
			each(1024, b.N, func(i int) error { return f.put(strconv.Itoa(i)) }, b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// BenchmarkPutStart puts a second command to each of b.N devices that are not
// in memory.
func BenchmarkPutStart(b *testing.B) {
	for _, of := range fleets {
		b.Run(of.name, func(b *testing.B) {
			dir := b.TempDir()
			f := of.open(b, dir)
			each(1024, b.N, func(i int) error { return f.put(strconv.Itoa(i)) }, b)
			require.NoError(b, f.rt.Shutdown(context.Background()))
			f = of.open(b, dir)
			b.ResetTimer()
			each(1024, b.N, func(i int) error { return f.put(strconv.Itoa(i)) }, b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "puts/s")
		})
	}
}

// BenchmarkDisk reports how many bytes on the disk a device with one command of
// 100 bytes takes, or with 100 of them a command, once they have left the
// store's log for a table.
func BenchmarkDisk(b *testing.B) {
	for _, of := range fleets {
		for _, commands := range []int{1, 100} {
			b.Run(fmt.Sprint(of.name, "-", commands), func(b *testing.B) {
				const devices = 2000
				for b.Loop() {
					dir := b.TempDir()
					f := of.open(b, dir)
					each(64, devices*commands, func(i int) error { return f.put(fmt.Sprint("device-", i%devices)) }, b)
					for range 2 { // the first start makes a table of the log, the second removes the log
						require.NoError(b, f.rt.Shutdown(context.Background()))
						f = of.open(b, dir)
					}
					b.ReportMetric(float64(sizeOf(b, dir))/float64(devices*commands), "B/command")
				}
			})
		}
	}
}

// sizeOf returns the size of the files in a directory.
func sizeOf(b *testing.B, dir string) (size int64) {
	b.Helper()
	require.NoError(b, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil && !errors.Is(err, fs.ErrNotExist) || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the store has removed it meanwhile
		}
		if err == nil {
			size += info.Size()
		}
		return err
	}))
	return size
}

// BenchmarkDrain lets 10,000 devices with a command each come back, at most 64
// at a time in their handshakes, and carry it out, until no command waits. They
// are in memory.
func BenchmarkDrain(b *testing.B) {
	const devices = 10_000
	for _, of := range fleets {
		b.Run(of.name, func(b *testing.B) {
			f := of.open(b, b.TempDir())
			listener := serve(b, f)
			for b.Loop() {
				b.StopTimer()
				each(64, devices, func(i int) error { return f.put(strconv.Itoa(i)) }, b)
				conns := make([]*websocket.Conn, devices)
				began := time.Now()
				b.StartTimer()
				each(64, devices, func(i int) (err error) {
					conns[i], err = carryOutOne(listener, i, f.protocols)
					return err
				}, b)
				each(64, devices, func(i int) error { return untilEmpty(f, strconv.Itoa(i)) }, b)
				b.StopTimer()
				b.ReportMetric(time.Since(began).Seconds(), "s/10000")
				each(64, devices, func(i int) error { return conns[i].CloseNow() }, b)
				b.StartTimer()
			}
		})
	}
}

// untilEmpty returns when nothing waits for a device.
func untilEmpty(f fleet, device string) error {
	for {
		if empty, err := f.empty(device); empty || err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// serve serves the devices of a fleet.
func serve(b *testing.B, f fleet) *pipe.Listener {
	b.Helper()
	listener := pipe.New()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.stub(r.FormValue("d")).ServeHTTP(w, r)
		}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	b.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	return listener
}

// each calls f for so many numbers, from some goroutines.
func each(goroutines, n int, f func(i int) error, b *testing.B) {
	b.Helper()
	var working sync.WaitGroup
	for worker := range goroutines {
		working.Go(func() {
			for i := worker; i < n; i += goroutines {
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	working.Wait()
}

// carryOutOne connects a device and lets it carry out a command.
func carryOutOne(listener *pipe.Listener, i int, protocols []string) (*websocket.Conn, error) {
	ctx := context.Background()
	ws, _, err := websocket.Dial(ctx, "http://dog.test/?d="+strconv.Itoa(i), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return listener.Dial(ctx) },
		}},
		Subprotocols: protocols,
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
