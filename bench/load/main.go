//go:build linux

// Command load opens sockets to a server under test, makes it work, and counts
// what arrives. It prints a line of JSON for each cell. It is one thread that
// reads all sockets through epoll into one buffer and looks at no more of a
// frame than it needs, so that it costs less than the servers.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godurable/dog/bench/internal/wire"
)

var (
	addr      = flag.String("addr", "", "IPv4 address and port of the server's endpoint")
	statAddr  = flag.String("stat", "", "address of the server's statistics")
	proto     = flag.String("proto", wire.ProtoPlain, "protocol of the messages in the frames")
	sockets   = flag.Int("sockets", 1000, "sockets to open")
	cellNames = flag.String(
		"cells", "w1-64",
		"what to measure on them, in this order: w1-BYTES, w32-BYTES (fan-out with so many "+
			"messages under way), echo-BYTES, rooms-BYTES (alone: rooms of two, in which both always talk), "+
			"rate-BYTES@PER_SECOND, slow-BYTES@PER_SECOND (the same without and with 1 % more "+
			"sockets that never read), idle, storm-BYTESxMISSED (alone, as idle: all clients come back at once, "+
			"and each has missed so many messages)",
	)
	measure  = flag.Duration("time", 600*time.Millisecond, "duration of a measurement")
	atLeast  = flag.Uint64("messages", 10, "fan-outs that a measurement has at least, besides those under way")
	settle   = flag.Duration("settle", 2*time.Second, "idle: silence before memory is measured")
	first    = flag.Int("first", 0, "hold: index of the first socket")
	holdOnly = flag.Bool("hold", false, "only hold sockets, for another process that measures")
	backOnly = flag.Bool("back", false, "only be clients that come back, for another process that measures")
	missed   = flag.Int("missed", 0, "back: how many messages each client has missed")
	size     = flag.Int("size", 64, "back: their size")
	after    = flag.String("after", "", "back: the position after which they are")
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("load: ")
	flag.Parse()
	runtime.LockOSThread()
	to, err := netip.ParseAddrPort(*addr)
	if err != nil {
		log.Fatal(err)
	}
	t := target{addr: to, proto: *proto}
	switch {
	case *holdOnly:
		err = hold(t)
	case *backOnly:
		t.after = *after
		err = back(t)
	default:
		err = run(t)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(t target) error {
	cells, err := parseCells(*cellNames)
	if err != nil {
		return err
	}
	t.rooms = cells[0].kind == "rooms"
	l, err := newLoop(t)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	emit := func(r wire.Result) error { return out.Encode(r) }
	switch cells[0].kind {
	case "idle":
		return idle(l, emit)
	case "storm":
		return cells[0].storm(l, emit)
	}
	if err := l.open(0, *sockets); err != nil {
		return err
	}
	if err := joined(*sockets); err != nil {
		return err
	}
	for _, c := range cells {
		if err := c.measure(l, emit); err != nil {
			return err
		}
		if l.closed > 0 || l.failed != nil {
			return nil // the next cell cannot use these sockets, as this one's result shows
		}
	}
	return nil
}

// A cell is one thing to measure.
type cell struct {
	name string
	kind string // w, echo, rooms, rate, slow, idle, storm
	size int    // of the messages
	n    int    // w: messages under way; storm: messages missed
	rate float64
}

func parseCells(list string) ([]cell, error) {
	var cells []cell
	for name := range strings.SplitSeq(list, ",") {
		c, err := parseCell(name)
		if err != nil {
			return nil, fmt.Errorf("cell %q: %w", name, err)
		}
		cells = append(cells, c)
	}
	alone := func(c cell) bool { return c.kind == "idle" || c.kind == "storm" }
	if len(cells) > 1 && slices.ContainsFunc(cells, alone) {
		return nil, fmt.Errorf("idle and storm go with no other cell: they begin with a server that has no sockets")
	}
	if len(cells) > 1 && slices.ContainsFunc(cells, func(c cell) bool { return c.kind == "rooms" }) {
		return nil, fmt.Errorf("rooms goes with no other cell: its sockets are not all in one room")
	}
	return cells, nil
}

func parseCell(name string) (c cell, err error) {
	c = cell{name: name, kind: name}
	if name == "idle" {
		return c, nil
	}
	kind, size, _ := strings.Cut(name, "-")
	size, rate, paced := strings.Cut(size, "@")
	size, missed, came := strings.Cut(size, "x")
	if c.size, err = strconv.Atoi(size); err != nil {
		return cell{}, err
	}
	if c.size < wire.MinMessage {
		return cell{}, fmt.Errorf("a message has at least %d bytes", wire.MinMessage)
	}
	c.kind = kind
	if under, ok := strings.CutPrefix(kind, "w"); ok {
		c.kind = "w"
		if c.n, err = strconv.Atoi(under); err != nil || c.n < 1 || c.n > ring {
			return cell{}, fmt.Errorf("1 to %d messages can be under way", ring)
		}
	}
	if paced {
		if c.rate, err = strconv.ParseFloat(rate, 64); err != nil || c.rate <= 0 {
			return cell{}, fmt.Errorf("no rate: %q", rate)
		}
	}
	if came {
		if c.n, err = strconv.Atoi(missed); err != nil || c.n < fillWindow {
			return cell{}, fmt.Errorf("at least %d messages can be missed", fillWindow)
		}
	}
	if paced != (c.kind == "rate" || c.kind == "slow") || came != (c.kind == "storm") ||
		!slices.Contains([]string{"w", "echo", "rooms", "rate", "slow", "storm"}, c.kind) {
		return cell{}, fmt.Errorf("no such cell")
	}
	return c, nil
}
