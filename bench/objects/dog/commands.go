package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/godurable/dog"
	"github.com/godurable/dog/bench/internal/drive"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/internal/pipe"
	"github.com/godurable/dog/outbox"
)

// A device has a queue of commands.
type device struct {
	dog.Object
	commands outbox.Queue
}

func (d *device) OnStart(context.Context) error {
	return d.commands.Bind(&d.Object, outbox.Policy{Waiting: 1 << 20, Bytes: 1 << 30}) // a fast disk fills the default
}

func (d *device) OnOpen(_ context.Context, s *dog.Socket) error { return d.commands.Attach(s) }

func (d *device) OnAlarm(ctx context.Context, a dog.Alarm) error { return d.commands.OnAlarm(ctx, a) }

func (d *device) Put(context.Context) error {
	_, err := d.commands.Put(drive.Command())
	return err
}

func (d *device) Waiting(context.Context) (int, error) {
	s, err := d.commands.Status()
	return s.Waiting, err
}

// A fleet is the devices of a directory.
type fleet struct {
	rt      *dog.Runtime
	devices *dog.Namespace[device]
}

func openFleet(dir string) (*fleet, error) {
	rt, err := dog.New(dog.Options{Logger: slog.New(slog.DiscardHandler), Store: disk.At(dir)})
	if err != nil {
		return nil, err
	}
	f := &fleet{rt: rt}
	if f.devices, err = dog.RegisterObject[device](rt, "device", nil); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	rt.Start()
	return f, nil
}

// Run implements drive.Subject.
func (f *fleet) Run(worker, n int) (began time.Time, err error) {
	return drive.Repeat(n, func() error { return f.put(worker) })
}

// Close implements drive.Subject.
func (f *fleet) Close() error { return (&program{rt: f.rt}).Close() }

// put queues a command and waits until it is durable.
func (f *fleet) put(i int) error {
	return dog.CallErr0(context.Background(), f.devices.Named(strconv.Itoa(i)), (*device).Put)
}

func put(job drive.Job) (drive.Figures, error) {
	f, err := openFleet(job.Dir)
	if err != nil {
		return nil, err
	}
	return drive.Rate(f, job.Objects, 1, job.Time)
}

func drain(job drive.Job) (drive.Figures, error) {
	f, err := openFleet(job.Dir)
	if err != nil {
		return nil, err
	}
	figures, err := f.drain(job.Objects)
	return figures, errors.Join(err, f.Close())
}

func (f *fleet) drain(devices int) (drive.Figures, error) {
	if err := drive.Fill(devices, drive.Handshakes, f.put); err != nil {
		return nil, err
	}
	listener := pipe.New()
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f.devices.Named(r.FormValue("d")).WithUID("device").ServeHTTP(w, r)
		}),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) }) // until Close
	conns := make([]*websocket.Conn, devices)
	defer func() {
		for _, ws := range conns {
			if ws != nil {
				_ = ws.CloseNow()
			}
		}
		_ = server.Close()
		serving.Wait()
	}()
	next := 0 // all before have carried out their commands
	return drive.Drain(devices, func(i int) (err error) {
		conns[i], err = carryOut(listener, i)
		return err
	}, func() (int, error) {
		for ; next < devices; next++ {
			waiting, err := dog.Call0(context.Background(), f.devices.Named(strconv.Itoa(next)), (*device).Waiting)
			if waiting > 0 || err != nil {
				return waiting, err
			}
		}
		return 0, nil
	})
}

// carryOut connects a device, which gets a command and acknowledges it.
func carryOut(listener *pipe.Listener, i int) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
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
