package list_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/list"
)

// A list has what a slice has to which the same is done.
func TestList_IsLikeASlice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l list.List[int]
		var model []int
		nodes := make([]list.Node[int], 5)
		for i := range nodes {
			nodes[i].Owner = &i
		}
		for _, i := range rapid.SliceOf(rapid.IntRange(0, len(nodes)-1)).Draw(t, "nodes") {
			at := slices.Index(model, i)
			require.Equal(t, at >= 0, l.Has(&nodes[i]))
			if at >= 0 {
				l.Remove(&nodes[i])
				model = slices.Delete(model, at, at+1)
			} else {
				l.Remove(&nodes[i]) // does nothing
				l.Push(&nodes[i])
				model = append(model, i)
			}
			var has []int
			for n := l.Head(); n != nil; n = n.Next() {
				has = append(has, *n.Owner)
			}
			require.Equal(t, len(model), len(has))
			require.True(t, slices.Equal(model, has))
		}
	})
}
