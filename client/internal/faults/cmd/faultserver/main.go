// Command faultserver serves the scenarios of a table of faults on the loopback
// interface, for clients in other languages. It prints its URL on the first
// line of its output and runs until its input ends or it is interrupted.
//
//	go run ./client/internal/faults/cmd/faultserver
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"

	"github.com/godurable/dog/client/internal/faults"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "faultserver:", err)
		os.Exit(1)
	}
}

func run() error {
	path := flag.String("table", "client/testdata/faults.json", "the `file` with the scenarios")
	scale := flag.Float64("scale", 0, "by what times are multiplied; 0: as the table says")
	flag.Parse()
	file, err := os.Open(*path)
	if err != nil {
		return err
	}
	table, err := faults.Read(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if *scale == 0 {
		*scale = table.Scale
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", listener.Addr())

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	server := &http.Server{Handler: faults.New(table, *scale)}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
