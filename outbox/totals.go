package outbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/wire"
)

// totals are the totals of a queue. They are stored when a command ends.
// Commands queued since then have the numbers that follow, without a gap, and
// are counted one by one.
type totals struct {
	Last    uint64 `json:"last"`           // the greatest number of a command so far
	Waiting int    `json:"n,omitempty"`    // waiting commands
	Bytes   int    `json:"b,omitempty"`    // of these commands
	Kept    int    `json:"kept,omitempty"` // bytes of outcomes and dead letters
	Dead    int    `json:"d,omitempty"`    // dead letters
	Alarm   int64  `json:"a,omitempty"`    // the time of the alarm, in Unix milliseconds; 0: none
}

// maxUncounted is how many commands are queued before totals are stored again,
// so that a starting object need not read many.
const maxUncounted = 64

// add counts a command that has been queued.
func (t *totals) add(c command) {
	t.Last++
	t.Waiting++
	t.Bytes += c.size()
	if t.Alarm == 0 || c.Expires < t.Alarm {
		t.Alarm = c.Expires
	}
}

// known is a cache of stored data. It is invalid once writes are undone or
// everything is deleted.
type known struct {
	valid   bool
	reverts uint64 // see hook.Reverts
	totals  totals
	counted uint64 // Last of the stored totals
	first   uint64 // no command with a lower number waits
	epoch   string // "": not known
}

// know returns the cache, after filling it if needed.
func (q *Queue) know() (*known, error) {
	reverts, err := hook.Reverts(q.object)
	if err != nil {
		return nil, err
	}
	k := &q.known
	if k.valid && k.reverts == reverts {
		return k, nil
	}
	*k = known{reverts: reverts}
	t, _, err := dog.Get[totals](q.object.Storage(), totalsKey)
	if err != nil {
		return nil, err
	}
	k.counted = t.Last
	if t.Waiting == 0 {
		k.first = t.Last + 1
	}
	for {
		c, found, err := q.commands().Get(numberKey(t.Last + 1))
		switch {
		case errors.Is(err, errDamaged): // the others still count
			t.Last++
			t.Waiting++
			continue
		case err != nil:
			return nil, err
		case found:
			t.add(c)
			continue
		}
		break
	}
	if t.Waiting == 0 && !q.looked {
		// Commands that are not counted would never be sent, such as those put
		// after the program has deleted the keys one by one.
		if t, err = q.look(t); err != nil {
			return nil, err
		}
		if q.looked = true; t.Waiting > 0 {
			k.first = 0
		}
	}
	k.totals, k.valid = t, true
	return k, nil
}

// look returns totals with all stored commands, including damaged ones.
func (q *Queue) look(t totals) (totals, error) {
	for e, err := range q.object.Storage().List(dog.ListOptions{Prefix: commandKeys}) {
		if err != nil {
			return t, err
		}
		t.Waiting++
		if number, err := strconv.ParseUint(e.Key[len(commandKeys):], 16, 64); err == nil {
			t.Last = max(t.Last, number)
		}
		var c command
		if (commandCodec{}).Decode(e.Value, &c) == nil {
			t.Bytes += c.size()
		}
	}
	return t, nil
}

// correct stores the number and size of the waiting commands if they differ
// from the totals.
func (q *Queue) correct(waiting, bytes int) error {
	t, err := q.totals()
	if err != nil || t.Waiting == waiting && t.Bytes == bytes {
		return err
	}
	q.object.Log().Warn("stored commands were changed by something other than their queue",
		"waiting", waiting, "counted", t.Waiting, "bytes", bytes, "countedBytes", t.Bytes)
	t.Waiting, t.Bytes = waiting, bytes
	return q.putTotals(t)
}

func (q *Queue) totals() (totals, error) {
	k, err := q.know()
	if err != nil {
		return totals{}, err
	}
	return k.totals, nil
}

// putTotals stores new totals, and sets those of the cache.
func (q *Queue) putTotals(t totals) error {
	if err := dog.Put(q.object.Storage(), totalsKey, t); err != nil {
		return err
	}
	q.known.totals, q.known.counted = t, t.Last
	return nil
}

// epoch returns the epoch of the queue's numbers. If an import has deleted the
// epoch, it makes a new one.
func (q *Queue) epoch() (string, error) {
	epoch, err := q.knownEpoch()
	if err != nil || epoch != "" {
		return epoch, err
	}
	if err := q.makeEpoch(); err != nil {
		return "", err
	}
	return q.knownEpoch()
}

// makeEpoch stores a new nonce for the epoch. This happens together with the
// first command, so that the device later gets that command without a wait for
// the disk. A backup has the same nonce, so an epoch depends on more than the
// nonce.
func (q *Queue) makeEpoch() error {
	nonce := make([]byte, 8)
	_, _ = rand.Read(nonce) // it never fails
	q.known.epoch = ""
	return q.object.Storage().Put(hook.EpochKey, nonce)
}

// knownEpoch returns the epoch of the queue's numbers, "" if there is none.
func (q *Queue) knownEpoch() (string, error) {
	k, err := q.know()
	if err != nil {
		return "", err
	}
	if k.epoch != "" {
		return k.epoch, nil
	}
	nonce, found, err := q.object.Storage().Get(hook.EpochKey)
	if err != nil || !found {
		return "", err
	}
	storeCopy, _ := hook.Setting(q.object)
	k.epoch = wire.EpochOf(fmt.Sprintf("%s\n%v\n%s", storeCopy, q.object.ID(), nonce))
	return k.epoch, nil
}
