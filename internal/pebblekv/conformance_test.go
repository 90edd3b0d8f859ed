package pebblekv_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/pebblekv/faultfs"
	"github.com/godurable/dog/internal/store"
	"github.com/godurable/dog/internal/store/enginetest"
)

func TestEngine_DoesWhatEnginesDo(t *testing.T) {
	enginetest.Run(t, func(t require.TestingT) store.Engine { return open(t, small(faultfs.New())) })
}
