package store

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"slices"
)

// An Alarm is the stored state of an alarm.
type Alarm struct {
	Name      string
	Scheduled int64 // when it was first to run; Unix nanoseconds, like all times here
	At        int64 // when it is to run next
	Runs      int   // failed runs
	Failed    bool  // it will not run again
	Err       string
	Payload   []byte

	// Serial distinguishes the alarm from a later one set under the same name,
	// even for the same time. It is never 0.
	Serial uint64
}

const (
	alarmVersion = 1
	alarmFailed  = 1 // a flag
)

func (a Alarm) encode() []byte {
	b := make([]byte, 0, 2+5*binary.MaxVarintLen64+len(a.Err)+len(a.Payload))
	var flags byte
	if a.Failed {
		flags = alarmFailed
	}
	b = append(b, alarmVersion, flags)
	b = binary.BigEndian.AppendUint64(b, a.Serial)
	b = binary.AppendVarint(b, a.Scheduled)
	b = binary.AppendVarint(b, a.At)
	b = binary.AppendUvarint(b, uint64(a.Runs))
	b = binary.AppendUvarint(b, uint64(len(a.Err)))
	b = append(b, a.Err...)
	return append(b, a.Payload...)
}

func decodeAlarm(name string, b []byte) (Alarm, error) {
	a := Alarm{Name: name}
	damaged := fmt.Errorf("%w: alarm %q", ErrCorrupt, name)
	if len(b) < 10 || b[0] != alarmVersion {
		return a, damaged
	}
	a.Failed = b[1]&alarmFailed != 0
	a.Serial = binary.BigEndian.Uint64(b[2:])
	b = b[10:]
	ok := true
	next := func(n int) {
		if ok = ok && n > 0; ok {
			b = b[n:]
		}
	}
	var n int
	a.Scheduled, n = binary.Varint(b)
	next(n)
	a.At, n = binary.Varint(b)
	next(n)
	runs, n := binary.Uvarint(b)
	next(n)
	size, n := binary.Uvarint(b)
	next(n)
	if !ok || runs > math.MaxInt32 || size > uint64(len(b)) {
		return a, damaged
	}
	a.Runs, a.Err, a.Payload = int(runs), string(b[:size]), b[size:]
	return a, nil
}

// Alarm returns the alarm with a name, even if it has failed.
func (o *Object) Alarm(name string) (a Alarm, found bool, err error) {
	value, found, err := o.Get(Alarms, name)
	if err != nil || !found {
		return Alarm{}, false, err
	}
	a, err = decodeAlarm(name, value)
	return a, err == nil, err
}

// SetAlarm stores an alarm, replacing any with the same name.
func (o *Object) SetAlarm(a Alarm) error {
	// The commit needs this anyway. If the object is new, there is no alarm to
	// look for, which would cost as much again.
	if err := o.lookUp(); err != nil {
		return err
	}
	if _, err := o.DeleteAlarm(a.Name); err != nil {
		return err
	}
	o.Put(Alarms, a.Name, a.encode())
	if !a.Failed {
		o.Put(Times, timeKey(a.At, a.Name), nil)
	}
	return nil
}

// DeleteAlarm deletes the alarm with a name and reports whether there was one.
func (o *Object) DeleteAlarm(name string) (existed bool, err error) {
	a, found, err := o.Alarm(name)
	if err != nil || !found {
		return false, err
	}
	o.Delete(Alarms, name)
	if !a.Failed {
		o.Delete(Times, timeKey(a.At, name))
	}
	return true, nil
}

// FirstAlarm returns the earliest alarm that has not failed.
func (o *Object) FirstAlarm() (a Alarm, found bool, err error) {
	key, err := o.firstTime()
	if err != nil || key == "" {
		return Alarm{}, false, err
	}
	at, name := splitTimeKey(key)
	a, found, err = o.Alarm(name)
	if err == nil && (!found || a.At != at) {
		err = fmt.Errorf("%w: alarm %q is not the alarm that is due", ErrCorrupt, name)
	}
	return a, err == nil, err
}

// NameAt is the name and the time of an alarm.
type NameAt struct {
	At   int64
	Name string
}

// PendingAlarms returns an iterator over the alarms that have not failed, in
// order of time, as they are at the time of the call.
func (o *Object) PendingAlarms() iter.Seq2[NameAt, error] {
	times := o.Scan(Times, Range{Unbounded: true})
	return func(yield func(NameAt, error) bool) {
		for e, err := range times {
			if err != nil {
				yield(NameAt{}, err)
				return
			}
			if at, name := splitTimeKey(e.Key); !yield(NameAt{At: at, Name: name}, nil) {
				return
			}
		}
	}
}

// AllAlarms returns an iterator over the alarms, failed or not, in order of
// name beginning with from, as they are at the time of the call.
func (o *Object) AllAlarms(from string) iter.Seq2[Alarm, error] {
	all := o.Scan(Alarms, Range{Lower: from, Unbounded: true})
	return func(yield func(Alarm, error) bool) {
		for e, err := range all {
			var a Alarm
			if err == nil {
				a, err = decodeAlarm(e.Key, e.Value)
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// FailedAlarms is AllAlarms for those that have failed.
func (o *Object) FailedAlarms() iter.Seq2[Alarm, error] {
	all := o.AllAlarms("")
	return func(yield func(Alarm, error) bool) {
		for a, err := range all {
			if (err != nil || a.Failed) && !yield(a, err) {
				return
			}
		}
	}
}

// reindexAlarm updates the object's entry in the alarm index to its earliest
// alarm. If the transaction touched any alarms, it returns the time of the
// earliest, or 0 if there is none.
func (o *Object) reindexAlarm(b Batch) (first int64, touched bool, err error) {
	if touched = o.touched(Times); !touched {
		return 0, false, nil
	}
	key, err := o.firstTime()
	if err != nil {
		return 0, false, err
	}
	if key != "" {
		first, _ = splitTimeKey(key)
	}
	before := o.near.first() // loaded by firstTime
	if first == before {
		return first, true, nil
	}
	if before != 0 {
		b.Delete(o.dueAlarm(before).key())
	}
	if first != 0 {
		b.Set(o.dueAlarm(first).key(), nil)
	}
	return first, true, nil
}

func (o *Object) dueAlarm(at int64) DueAlarm {
	return DueAlarm{At: at, Namespace: o.id.Namespace, Base: o.id.Base}
}

// firstTime returns the first key in space Times, or "" if there is none.
func (o *Object) firstTime() (string, error) {
	if !o.near.known {
		if err := o.near.load(o); err != nil {
			return "", err
		}
	}
	first := ""
	for _, c := range o.changes(Times, Range{Unbounded: true}) {
		if !c.deleted {
			first = c.key
			break
		}
	}
	if o.wiped {
		return first, nil
	}
	stored, exhausted := "", true
	for _, key := range o.near.keys {
		if c, changed := o.writes[string(Times)+key]; !changed || !c.deleted {
			stored, exhausted = key, false
			break
		}
	}
	if exhausted && !o.near.whole {
		var err error
		if stored, err = firstKey(o.Scan(Times, Range{Lower: o.near.last(), Unbounded: true})); err != nil {
			return "", err
		}
	}
	if first == "" || (stored != "" && stored < first) {
		first = stored
	}
	return first, nil
}

// maxNear is the maximum number of keys in nearTimes.
const maxNear = 8

// nearTimes caches the first keys of space Times that the engine has, which are
// those of the next alarms. It saves most transactions a scan of the engine,
// which costs more than everything else. The scan is especially slow because
// alarms come and go at the beginning of the space and it must skip those
// deleted.
type nearTimes struct {
	keys  []string
	whole bool // keys has all keys of the space
	known bool
}

// first returns the time of the first key, or 0 if there is none.
func (n *nearTimes) first() int64 {
	if len(n.keys) == 0 {
		return 0
	}
	at, _ := splitTimeKey(n.keys[0])
	return at
}

// last returns the last key, or "" if there is none.
func (n *nearTimes) last() string {
	if len(n.keys) == 0 {
		return ""
	}
	return n.keys[len(n.keys)-1]
}

func (n *nearTimes) load(o *Object) error {
	*n = nearTimes{}
	committed := Object{engine: o.engine, prefix: o.prefix}
	for e, err := range committed.Scan(Times, Range{Unbounded: true}) {
		if err != nil {
			return err
		}
		if len(n.keys) == maxNear {
			n.known = true
			return nil
		}
		n.keys = append(n.keys, e.Key)
	}
	n.known, n.whole = true, true
	return nil
}

// apply applies the changes of a committed transaction of the object.
func (n *nearTimes) apply(o *Object) {
	if o.wiped {
		n.keys, n.whole = n.keys[:0], true
	}
	horizon := n.last()
	for _, c := range o.changes(Times, Range{Unbounded: true}) {
		i, found := slices.BinarySearch(n.keys, c.key)
		switch {
		case c.deleted && found:
			n.keys = slices.Delete(n.keys, i, i+1)
		case !c.deleted && !found && (n.whole || c.key < horizon):
			n.keys = slices.Insert(n.keys, i, c.key)
		}
	}
	if len(n.keys) > maxNear {
		n.keys, n.whole = slices.Delete(n.keys, maxNear, len(n.keys)), false
	}
	n.known = len(n.keys) > 0 || n.whole
}

func firstKey(entries iter.Seq2[Entry, error]) (string, error) {
	for e, err := range entries {
		return e.Key, err
	}
	return "", nil
}

// timeKey returns the key of an alarm in space Times.
func timeKey(at int64, name string) string { return string(encodeTime(nil, at)) + name }

// splitTimeKey returns the arguments of timeKey.
func splitTimeKey(key string) (at int64, name string) { return decodeTime(key[:8]), key[8:] }

// encodeTime appends a time in a form whose byte order is the order of times.
func encodeTime(b []byte, at int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(at)^1<<63) }

func decodeTime(b string) int64 { return int64(binary.BigEndian.Uint64([]byte(b)) ^ 1<<63) }

// A DueAlarm is an entry of the alarm index: the earliest alarm of an object.
type DueAlarm struct {
	At        int64 // Unix nanoseconds
	Namespace uint32
	Base      Base
}

func (a DueAlarm) key() []byte {
	b := encodeTime(alarmIndex(a.Namespace), a.At)
	return append(b, a.Base[:]...)
}

func alarmIndex(namespace uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{alarmKeys}, namespace)
}

// Before orders the alarms of a namespace by time, and those with the same time
// by base.
func (a DueAlarm) Before(b DueAlarm) bool {
	if a.At != b.At {
		return a.At < b.At
	}
	return string(a.Base[:]) < string(b.Base[:])
}

// Set reports whether the alarm is in the index.
func (a DueAlarm) Set(engine Engine) (bool, error) {
	_, found, err := engine.Get(a.key())
	return found, err
}

// AlarmsAfter returns an iterator over the earliest alarms of the objects of a
// namespace that come after the given one, in order.
func AlarmsAfter(engine Engine, after DueAlarm) iter.Seq2[DueAlarm, error] {
	lower, upper := append(after.key(), 0), successor(alarmIndex(after.Namespace))
	return func(yield func(DueAlarm, error) bool) {
		for pair, err := range engine.Scan(lower, upper, false) {
			if err != nil {
				yield(DueAlarm{}, err)
				return
			}
			key := pair.Key[1+4:]
			if len(key) != 8+len(Base{}) {
				yield(DueAlarm{}, fmt.Errorf("%w: index of alarms", ErrCorrupt))
				return
			}
			due := DueAlarm{At: decodeTime(string(key[:8])), Namespace: after.Namespace, Base: Base(key[8:])}
			if !yield(due, nil) {
				return
			}
		}
	}
}
