package chromium

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
)

// console is what the console of a page shows.
type console struct {
	mu     sync.Mutex
	lines  []string // guarded by mu
	thrown []string // those of lines that are exceptions; guarded by mu
}

// hear adds an event to the console, if it is one for it.
func (c *console) hear(event any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		line := "exception: " + e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			line += " " + show(thrown)
		}
		c.lines = append(c.lines, line)
		c.thrown = append(c.thrown, line)
	case *runtime.EventConsoleAPICalled:
		values := make([]string, len(e.Args))
		for i, value := range e.Args {
			values[i] = show(value)
		}
		c.lines = append(c.lines, string(e.Type)+": "+strings.Join(values, " "))
	case *log.EventEntryAdded:
		c.lines = append(c.lines, strings.TrimSpace(fmt.Sprint(e.Entry.Level, ": ", e.Entry.Text, " ", e.Entry.URL)))
	}
}

func show(value *runtime.RemoteObject) string {
	if value.Description != "" {
		return value.Description
	}
	var text string
	if json.Unmarshal(value.Value, &text) == nil {
		return text
	}
	return string(value.Value)
}

func (c *console) exceptions() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.thrown)
}

// Console returns the lines of the console, such as "log: hello".
func (p *Tab) Console() []string {
	p.t.Helper()
	p.Run("0") // what the page has reported before is here when this has been answered
	p.console.mu.Lock()
	defer p.console.mu.Unlock()
	return slices.Clone(p.console.lines)
}
