// Package http_test tests requests to objects: Receive, RoundTrip, responses,
// streams, and upgrades seen as requests. Open WebSockets are tested in
// test/socket, histories over HTTP in test/history.
package http_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
