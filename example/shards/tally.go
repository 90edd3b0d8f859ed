package main

import (
	"cmp"
	"context"
	"slices"

	"github.com/godurable/dog"
)

// Tally counts the views of those pages that belong to its shard.
type Tally struct{ dog.Object }

// Views are those of one page.
type Views struct {
	Page  string `json:"page"`
	Count int    `json:"count"`
}

func (t *Tally) pages() dog.Values[int] {
	return dog.Values[int]{Storage: t.Storage(), Prefix: "page/"}
}

func (t *Tally) sums() dog.Values[int] { return dog.Values[int]{Storage: t.Storage()} }

func next(n int) (int, error) { return n + 1, nil }

// Hit counts a view of a page and returns how many it has had. The page's count and the sum are stored together or not at all.
func (t *Tally) Hit(_ context.Context, page string) (int, error) {
	if _, err := t.sums().Update("total", next); err != nil {
		return 0, err
	}
	return t.pages().Update(page, next)
}

// Total returns the views of all pages.
func (t *Tally) Total(context.Context) (int, error) {
	total, _, err := t.sums().Get("total")
	return total, err
}

// Top returns the n pages with the most views, of those of this shard. It reads them all, while nobody is counted.
func (t *Tally) Top(_ context.Context, n int) ([]Views, error) {
	var all []Views
	for page, err := range t.pages().List(dog.ListOptions{}) {
		if err != nil {
			return nil, err
		}
		all = append(all, Views{page.Key, page.Value})
	}
	return top(all, n), nil
}

// top returns the n pages with the most views, those with as many in the order of their names.
func top(all []Views, n int) []Views {
	slices.SortFunc(all, func(a, b Views) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Page, b.Page)) })
	return all[:min(n, len(all))]
}
