// Package storage_test tests keys and values, transactions, exports, imports,
// backups and migrations, with every store. SQL is tested in test/sql, alarms
// in test/alarm, failing disks in test/faults.
package storage_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
