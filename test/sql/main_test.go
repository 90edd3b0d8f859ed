// Package sql_test tests the SQL database of an object: queries, schemas,
// limits, refused statements and transactions. Keys, exports and backups are
// tested in test/storage.
package sql_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
