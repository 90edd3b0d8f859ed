package main

import (
	"context"

	"github.com/godurable/dog"
)

// Counter counts. Each has a name, and its number outlives the process.
type Counter struct{ dog.Object }

func (c *Counter) numbers() dog.Values[int64] { return dog.Values[int64]{Storage: c.Storage()} }

// Add counts up by n, or down, and returns the new number. There is no mutex: a counter runs one method at a time.
func (c *Counter) Add(_ context.Context, n int64) (int64, error) {
	return c.numbers().Update("number", func(old int64) (int64, error) { return old + n, nil })
}

// Number returns how far the counter is.
func (c *Counter) Number(context.Context) (int64, error) {
	number, _, err := c.numbers().Get("number")
	return number, err
}
