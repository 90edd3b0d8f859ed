package browser_test

import (
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/test/browser/internal/chromium"
)

// A page that reads a history with nothing but an EventSource has every line
// once and in order, although its connection is cut, also between messages and
// their position, and the server restarts and is killed.
func TestEventSource_ContinuesWhereItWas(t *testing.T) {
	file := filepath.Join(t.TempDir(), "board")
	build(t, file, "./test/internal/board")
	addr := freeAddr(t)
	server := start(t, file, addr, "-addr", addr, "-data", filepath.Join(t.TempDir(), "board"))
	network := newRelay(t, addr)
	browser := chromium.Start(t)
	reader := browser.Open(t, "the reader", chromedp.Navigate("http://"+network.addr+"/reader"))
	writer := browser.Open(t, "the writer", chromedp.Navigate(server.url))
	writer.Wait("a connection", `window.room?.state === "open"`)

	write := func(line string) {
		writer.Run(`void write("` + line + `")`)
		writer.Wait("that the server has handled "+line, `handled.includes(args[0])`, line)
	}
	waitLine := func(line string) { reader.Wait(line, `lines.includes(args[0])`, line) }
	write("line")
	waitLine("line")
	restart := func(end func()) func(string) {
		return func(line string) {
			end()
			reader.Wait("the end of the connection", `source.readyState === EventSource.CONNECTING`)
			server.start()
			write(line)
		}
	}
	breaks := []struct {
		name string
		miss func(line string) // breaks the connection, and writes a line until it is there again
	}{
		{"cut", func(line string) {
			network.setCut(true)
			reader.Wait("the end of the connection", `source.readyState === EventSource.CONNECTING`)
			write(line)
			network.setCut(false)
		}},
		{"cut between messages and their position", func(line string) {
			network.holdBetween(line, "event: control")
			write(line)
			waitLine(line)
			network.setCut(true)
			reader.Wait("the end of the connection", `source.readyState === EventSource.CONNECTING`)
			write(line + ", another")
			network.setCut(false)
			waitLine(line + ", another")
		}},
		{"terminated", restart(server.terminate)},
		{"killed", restart(server.kill)},
	}
	for _, b := range breaks {
		write(b.name + ": before")
		waitLine(b.name + ": before")
		b.miss(b.name + ": missed")
		waitLine(b.name + ": missed")
		write(b.name + ": after")
		waitLine(b.name + ": after")
		require.Equal(t, written(t, server), chromium.Eval[[]string](reader, `lines`), b.name)
	}
	require.Greater(t, chromium.Eval[int](reader, `opened`), len(breaks), "it has come back after each break")
	server.terminate()
}
