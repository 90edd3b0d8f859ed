// Package group_test tests groups and their replicas: Identify, places,
// gateways, Clusterize, and which sockets get a message. Presence is tested in
// test/presence, histories in test/history.
package group_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
