package conn_test

import (
	"io"
	"testing"

	"github.com/godurable/dog/internal/conn"
)

// One message of 64 bytes to 100 members, until all have it.
func BenchmarkSetSend(b *testing.B) {
	const members = 100
	s := conn.Set{Writers: conn.NewWriters(nil)}
	var reads []*reading
	arrived := make(chan error, members)
	for range members {
		server, client := tcpPair(b)
		c, p := accept(b, server, client, nil)
		reads = append(reads, startReading(c))
		s.Add(c)
		go func() {
			buf := make([]byte, 66)
			for {
				_, err := io.ReadFull(p.br, buf)
				arrived <- err
				if err != nil {
					return
				}
			}
		}()
	}
	f := conn.NewFrame(conn.Text, make([]byte, 64))
	b.ReportAllocs()
	for b.Loop() {
		s.Send(f, "", conn.Except{})
		for range members {
			if err := <-arrived; err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, r := range reads {
		r.c.Abort(nil)
		r.end(b)
		<-arrived
	}
}

// A message of 64 bytes there and back.
func BenchmarkEcho(b *testing.B) {
	server, client := tcpPair(b)
	c, p := accept(b, server, client, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			op, data, err := c.Read()
			if err != nil {
				return
			}
			c.Send(conn.NewFrame(op, data), "")
		}
	}()
	message := masked(fin|2, string(make([]byte, 64)))
	buf := make([]byte, 66)
	b.ReportAllocs()
	for b.Loop() {
		p.sendRaw(message)
		if _, err := io.ReadFull(p.br, buf); err != nil {
			b.Fatal(err)
		}
	}
	client.Close()
	<-done
	c.Wait()
}
