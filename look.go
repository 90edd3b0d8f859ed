package dog

import (
	"context"
	"iter"

	"github.com/godurable/dog/internal/hook"
	"github.com/godurable/dog/internal/object"
	"github.com/godurable/dog/internal/store"
)

func init() {
	hook.Look = func(rt any, name string) any {
		for _, c := range rt.(*Runtime).host.Classes() {
			if ns := namespaceOf(c); ns.Name == name {
				return look{ns}
			}
		}
		return nil
	}
}

// A look is what package dogview does with the objects of a type. It starts
// none of them. IDs must be of the type: otherwise it returns [ErrForeignID].
type look struct{ ns *namespace }

// List is [Namespace.List].
func (l look) List(ctx context.Context, options ObjectListOptions) iter.Seq2[ObjectEntry, error] {
	return l.ns.entries(ctx, options)
}

// Find describes an object. found is false if it is neither in memory nor
// stored.
func (l look) Find(ctx context.Context, id ID) (entry ObjectEntry, found bool, err error) {
	if _, err := l.ns.byID(id); err != nil {
		return ObjectEntry{}, false, err
	}
	e, found, err := l.ns.Find(ctx, object.ID(id))
	return l.ns.entry(e), found, err
}

// Live returns the object if it is in memory or has open sockets.
func (l look) Live(id ID) (state LiveObject, found bool) {
	if o := l.ns.holder(id); o != nil {
		return o.state(), true
	}
	return LiveObject{}, false
}

// Group returns the state of the group if it is in memory.
func (l look) Group(id ID) (stats GroupStats, found bool) {
	if o := l.ns.holder(id); o != nil && o.group != nil {
		return o.group.stats(nil), true
	}
	return GroupStats{}, false
}

// Read calls f in the object's turn. Each change in f fails, and missing steps
// of the type's Schema do not run. f must not wait. What f has read is durable
// when Read returns. A replica that is not in memory is [ErrReplicaGone], since
// its group would start.
func (l look) Read(ctx context.Context, id ID, f func(*Storage) error) error {
	return l.administer(ctx, id, "read", func(st *Storage) (<-chan error, error) {
		return st.life.Object().Gate.Outcome(), st.life.Tx.ReadOnly(func() error { return f(st) })
	})
}

// RunAgain lets a failed alarm run now, and reports whether there is one.
func (l look) RunAgain(ctx context.Context, id ID, alarm string) (found bool, err error) {
	err = l.administer(ctx, id, "run an alarm of", func(st *Storage) (<-chan error, error) {
		a, _, err := st.Alarms().Get(alarm)
		if found = a.Failed; !found {
			return nil, err
		}
		if err = st.Alarms().SetNamed(alarm, l.ns.rt.host.WallClock(), a.Payload); err == nil {
			err = st.life.Tx.Commit()
		}
		return st.life.Object().Gate.Outcome(), err
	})
	return found, err
}

func (l look) administer(ctx context.Context, id ID, op string, do func(*Storage) (<-chan error, error)) error {
	to, err := l.ns.byID(id)
	if err != nil {
		return err
	}
	if l.ns.kind == KindReplica && l.ns.holder(id) == nil {
		return ErrReplicaGone
	}
	return administer(ctx, ctx, to, "dogview: "+op+" an object", do)
}

// FailedAlarms returns alarms that have failed, without their payloads, in the
// order of their names beginning with from. It does not wait for the object's
// turn. It looks at one alarm at least, until it has found so many or ctx ends.
// Then next is where to continue. Otherwise next is "".
func (l look) FailedAlarms(
	ctx context.Context, id ID, from string, limit int,
) (failed []Alarm, next string, err error) {
	leave, err := l.ns.rt.host.EnterFrom(ctx)
	if err != nil {
		return nil, "", err
	}
	defer leave()
	stored := store.NewObject(l.ns.rt.host.Engine, store.Identity{Base: object.ID(id).Base()})
	for a, err := range stored.AllAlarms(from) {
		if err != nil {
			return failed, "", err
		}
		if a.Failed {
			a.Payload = nil
			failed = append(failed, alarmOf(a))
		}
		if len(failed) == limit || ctx.Err() != nil {
			return failed, a.Name + "\x00", nil
		}
	}
	return failed, "", nil
}

// Abort is [Stub.Abort].
func (l look) Abort(id ID, reason error) error {
	to, err := l.ns.byID(id)
	if err != nil {
		return err
	}
	return Stub[any]{to}.Abort(reason)
}

// Drain is [GroupStub.Drain].
func (l look) Drain(ctx context.Context, group, replica ID) error {
	to, err := l.ns.byID(group)
	if err != nil {
		return err
	}
	return GroupStub[any, any]{Stub[any]{to}}.Drain(ctx, replica)
}
