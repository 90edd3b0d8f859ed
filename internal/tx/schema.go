package tx

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/godurable/dog/internal/store"
)

// A Schema is the steps that bring an object's SQL database to its present
// form. It is shared by the objects of a type. All fields are fixed.
type Schema struct {
	Steps      []string
	AllowNewer bool          // the database may have taken further steps
	Timeout    time.Duration // for all missing steps together; 0: no limit
	// Error returns the error for a step that fails, or is not the one that the
	// database has taken.
	Error func(step int, err error) error
}

// Start is called when the owner starts. It runs the missing steps of a schema.
// A schema without steps is checked when the database is first used, so that
// owners without a database read nothing.
func (t *Tx) Start(schema *Schema) error {
	t.schema = schema
	if len(schema.Steps) == 0 {
		t.checkSchema = true
		return nil
	}
	if err := t.Enter(); err != nil {
		return err
	}
	defer t.Leave()
	return t.applySchema()
}

// schemaKey is the key in space About of the digests of the applied steps.
const schemaKey = "schema"

const digestSize = 16

// digest identifies a step.
func digest(step string) []byte {
	sum := sha256.Sum256([]byte(step))
	return sum[:digestSize]
}

// applySchema checks the steps that have been applied and runs those that have
// not. The caller must have entered.
func (t *Tx) applySchema() (err error) {
	// Steps of the schema are not the program's own use of the data.
	defer func(reads, writes uint64) { t.reads, t.writes = reads, writes }(t.reads, t.writes)
	t.checkSchema = false
	defer func() { t.checkSchema = err != nil }()
	if t.schema == nil { // the owner has not started
		return nil
	}
	taken, err := t.taken()
	if err != nil || taken == len(t.schema.Steps) {
		return err
	}
	if err := t.saveEntered(); err != nil {
		return err
	}
	if err := t.take(taken); err != nil {
		if t.restoreEntered() != nil {
			_ = t.Owner.Reset(err)
		}
		return err
	}
	return t.keepEntered()
}

// take runs the steps from index taken on and stores the digests of all steps.
func (t *Tx) take(taken int) error {
	if err := t.begin(); err != nil {
		return err
	}
	var end time.Time
	if d := t.schema.Timeout; d > 0 {
		end = time.Now().Add(d)
	}
	var digests []byte
	for i, step := range t.schema.Steps {
		digests = append(digests, digest(step)...)
		if i < taken {
			continue
		}
		if err := t.takeStep(step, end); err != nil {
			return t.schema.Error(i, err)
		}
	}
	t.data.Put(store.About, schemaKey, digests)
	return nil
}

// blank matches the text that may stand between statements.
const blank = `(?:\s|--[^\n]*(?:\n|$)|/\*(?s:.*?)\*/)*`

// keysOff matches the beginning of a step that runs without foreign keys,
// keysOn its optional end: SQLite's own recipe for changes that ALTER TABLE
// cannot make.
var (
	keysOff = regexp.MustCompile(
		`(?i)^` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:OFF|FALSE|NO|0)|\(\s*(?:OFF|FALSE|NO|0)\s*\))\s*;`,
	)
	keysOn = regexp.MustCompile(
		`(?i);` + blank + `PRAGMA\s+foreign_keys\s*(?:=\s*(?:ON|TRUE|YES|1)|\(\s*(?:ON|TRUE|YES|1)\s*\))\s*;?` +
			blank + `$`,
	)
)

// stepMemory is the memory limit of steps: 1 GiB, and with 32-bit addresses the
// limit of any statement.
const stepMemory = 128 << 20 << (3 * (^uint(0) >> 63))

// anyTime stands for no limit on the time that a step takes.
const anyTime time.Duration = 1 << 61

// takeStep runs a step. If end is not zero, the step must be finished by then.
func (t *Tx) takeStep(step string, end time.Time) (err error) {
	if err := t.openSQL(); err != nil {
		return err
	}
	defer t.sql.Allow(0, 0)
	allow := func() {
		left := anyTime
		if !end.IsZero() {
			left = max(time.Until(end), 1)
		}
		t.sql.Allow(left, stepMemory)
	}
	defer func() {
		if errors.Is(err, store.ErrLimit) && !end.IsZero() && time.Until(end) <= 0 {
			err = fmt.Errorf("%w: all steps together take longer than Options.StartTimeout", err)
		}
	}()
	allow()
	off := keysOff.FindStringIndex(step)
	if off == nil {
		_, _, err := t.Exec(step, nil)
		return err
	}
	if err := t.sql.ForeignKeys(false); err != nil {
		return err
	}
	_, _, err = t.Exec(keysOn.ReplaceAllString(step[off[1]:], ";"), nil)
	allow()
	if checked := t.sql.ForeignKeys(true); err == nil {
		err = checked
	}
	return err
}

// taken returns the number of steps that have been applied.
func (t *Tx) taken() (int, error) {
	digests, _, err := t.data.Get(store.About, schemaKey)
	if err != nil {
		return 0, err
	}
	steps := t.schema.Steps
	n := len(digests) / digestSize
	for i := range n {
		switch {
		case i >= len(steps) && t.schema.AllowNewer:
			return len(steps), nil
		case i >= len(steps):
			return 0, t.schema.Error(i, errors.New("it has been applied and is missing: "+
				"keep steps that were released, or set AllowNewerSchema to run an earlier release"))
		case string(digests[i*digestSize:(i+1)*digestSize]) != string(digest(steps[i])):
			return 0, t.schema.Error(i, errors.New("it is not the one that has been applied: was it changed or moved?"))
		}
	}
	return n, nil
}
