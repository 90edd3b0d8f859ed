// Command jetstream queues commands for devices in NATS JetStream, on a server
// in the same process: a stream with a subject for each device, and a durable
// pull consumer for each, which acknowledges what it has carried out. The
// server syncs each message before it acknowledges it, as dog does.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/godurable/dog/bench/internal/drive"
)

func main() {
	drive.Main(map[string]func(drive.Job) (drive.Figures, error){"put": put, "drain": drain})
}

const (
	stream   = "commands"
	patience = time.Minute
)

// A broker is a server with a stream and its consumers.
type broker struct {
	server *server.Server
	conns  []*nats.Conn // of those that put commands
	puts   []jetstream.JetStream
	subj   []string // of each device
}

// open starts a server with consumers for devices.
func open(dir string, devices int) (b *broker, err error) {
	b = &broker{}
	if b.server, err = server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, NoLog: true,
	}); err != nil {
		return nil, err
	}
	b.server.Start()
	if !b.server.ReadyForConnections(patience) {
		return nil, errors.Join(errors.New("the server is not ready"), b.Close())
	}
	for range drive.Handshakes {
		conn, js, err := b.connect()
		if err != nil {
			return nil, errors.Join(err, b.Close())
		}
		b.conns, b.puts = append(b.conns, conn), append(b.puts, js)
	}
	if err := b.declare(devices); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *broker) connect() (*nats.Conn, jetstream.JetStream, error) {
	conn, err := nats.Connect("", nats.InProcessServer(b.server))
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(conn)
	return conn, js, err
}

func (b *broker) declare(devices int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if _, err := b.puts[0].CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{"command.*"}, Retention: jetstream.WorkQueuePolicy,
		MaxConsumers: devices, // more than the default of 1,000
	}); err != nil {
		return err
	}
	b.subj = make([]string, devices)
	for i := range b.subj {
		b.subj[i] = fmt.Sprint("command.", i)
	}
	return drive.Fill(devices, drive.Handshakes, func(i int) error {
		_, err := b.puts[i%len(b.puts)].CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: device(i), FilterSubject: b.subj[i], AckPolicy: jetstream.AckExplicitPolicy,
		})
		return err
	})
}

func device(i int) string { return fmt.Sprint("device-", i) }

// Run implements drive.Subject.
func (b *broker) Run(worker, n int) (began time.Time, err error) {
	return drive.Repeat(n, func() error { return b.put(worker) })
}

// put queues a command and waits until it is durable.
func (b *broker) put(device int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := b.puts[device%len(b.puts)].Publish(ctx, b.subj[device], drive.Command())
	return err
}

// Close implements drive.Subject.
func (b *broker) Close() error {
	for _, c := range b.conns {
		c.Close()
	}
	b.server.Shutdown()
	b.server.WaitForShutdown()
	return nil
}

func put(job drive.Job) (drive.Figures, error) {
	b, err := open(job.Dir, job.Objects)
	if err != nil {
		return nil, err
	}
	return drive.Rate(b, job.Objects, 1, job.Time)
}

func drain(job drive.Job) (drive.Figures, error) {
	b, err := open(job.Dir, job.Objects)
	if err != nil {
		return nil, err
	}
	if err := drive.Fill(job.Objects, drive.Handshakes, b.put); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	conns := make([]*nats.Conn, job.Objects)
	figures, err := drive.Drain(job.Objects, func(i int) error {
		conn, js, err := b.connect()
		if err != nil {
			return err
		}
		conns[i] = conn
		return carryOut(js, i)
	}, b.waiting)
	for _, conn := range conns {
		conn.Close() // nil is none
	}
	return figures, errors.Join(err, b.Close())
}

// carryOut gets a command and acknowledges it.
func carryOut(js jetstream.JetStream, i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	consumer, err := js.Consumer(ctx, stream, device(i))
	if err != nil {
		return err
	}
	m, err := consumer.Next(jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	return m.Ack()
}

// waiting returns how many commands wait.
func (b *broker) waiting() (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := b.puts[0].Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx)
	if err != nil {
		return 0, err
	}
	return int(info.State.Msgs), nil //nolint:gosec // as many as devices
}
