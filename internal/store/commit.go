package store

import (
	"errors"
	"slices"
)

// A Commit is the result of a commit.
type Commit struct {
	Number uint64 // see [Engine.OnDurable]
	// Alarm is the time of the object's earliest alarm if the transaction
	// touched alarms and there is one, otherwise 0.
	Alarm int64
}

// Commit passes the transaction to the engine. After an error, the caller must
// call Rollback.
func (o *Object) Commit() (Commit, error) {
	if len(o.saves) > 0 {
		return Commit{}, errors.New("dog: commit inside a transaction")
	}
	if !o.Dirty() {
		return Commit{}, nil
	}
	b := o.engine.Begin()
	alarm, alarms, err := o.fill(b)
	if err != nil {
		b.Discard()
		return Commit{}, err
	}
	number, err := b.Commit()
	if err != nil {
		return Commit{}, err
	}
	if alarms {
		o.near.apply(o)
	}
	o.reset()
	return Commit{Number: number, Alarm: alarm}, nil
}

// fill adds the transaction to a batch, including the object's entries in the
// indexes of the store.
func (o *Object) fill(b Batch) (alarm int64, alarms bool, err error) {
	if o.wiped || len(o.writes) > 0 {
		if err := o.lookUp(); err != nil {
			return 0, false, err
		}
		o.complete(b)
		if o.presence == absent && !o.near.known {
			o.near = nearTimes{known: true, whole: true}
		}
	}
	if alarm, alarms, err = o.reindexAlarm(b); err != nil {
		return 0, false, err
	}
	if o.wiped {
		if err := o.wipe(b); err != nil {
			return 0, false, err
		}
		o.presence = absent
	}
	var scratch [256]byte
	live := false
	for key, c := range o.writes {
		k := append(append(scratch[:0], o.prefix...), key...)
		if c.deleted {
			if !o.wiped {
				b.Delete(k)
			}
			continue
		}
		live = true
		b.Set(k, c.value)
	}
	for _, n := range o.notes {
		n.add(b)
	}
	switch {
	case live && o.presence == absent:
		b.Set(o.appendKey(scratch[:0], About, ""), o.id.encode())
		for _, key := range o.id.indexKeys() {
			b.Set(key, nil)
		}
		o.presence = present
	case o.wiped && !live:
		for _, key := range o.id.indexKeys() {
			b.Delete(key)
		}
	}
	return alarm, alarms, nil
}

// lookUp finds out whether the engine has the object, if that is not known. It
// adds the stored names to an identity that was made from the ID only.
func (o *Object) lookUp() error {
	if o.presence != unknown {
		return nil
	}
	stored, found, err := o.engine.Get(o.appendKey(nil, About, ""))
	if err != nil {
		return err
	}
	if !found {
		o.presence = absent
		return nil
	}
	if string(stored) != string(o.id.encode()) {
		was, err := decodeIdentity(o.id.Base, stored)
		if err != nil {
			return err
		}
		o.id = o.id.completedBy(was)
		if string(stored) != string(o.id.encode()) {
			o.was = &was
		}
	}
	o.presence = present
	return nil
}

// complete adds the names to an object that was stored when only its ID was
// known.
func (o *Object) complete(b Batch) {
	if o.was == nil {
		return
	}
	b.Delete(o.was.indexKey())
	b.Set(o.appendKey(nil, About, ""), o.id.encode())
	b.Set(o.id.indexKey(), nil)
	o.was = nil
}

// wipe deletes the engine's data of the object.
func (o *Object) wipe(b Batch) error {
	end := successor(o.prefix)
	keys := make([][]byte, 0, smallObject)
	for pair, err := range o.engine.Scan(o.prefix, end, false) {
		if err != nil {
			return err
		}
		if len(keys) == smallObject {
			b.DeleteRange(o.prefix, end)
			return nil
		}
		keys = append(keys, slices.Clone(pair.Key))
	}
	for _, key := range keys {
		b.Delete(key)
	}
	return nil
}

// touched reports whether the transaction changed anything in a space.
func (o *Object) touched(space Space) bool {
	if o.wiped {
		return true
	}
	if len(o.writes) > 16 && o.sorted != nil {
		i, _ := slices.BinarySearch(o.sorted, string(space))
		return i < len(o.sorted) && Space(o.sorted[i][0]) == space
	}
	for key := range o.writes {
		if Space(key[0]) == space {
			return true
		}
	}
	return false
}
