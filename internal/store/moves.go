package store

import (
	"iter"
	"slices"
)

// stored returns an iterator over the objects of a namespace, as they are at
// the time of the iteration.
func (r *migrating) stored(n Namespace) iter.Seq2[Identity, error] {
	return func(yield func(Identity, error) bool) {
		for name, err := range Named(r.catalog.engine, n.Number, "", "") {
			if !yield(Identity{Namespace: n.Number, Base: r.baseOf(n.Origin, name), Name: name}, err) || err != nil {
				return
			}
		}
		for base, err := range Unnamed(r.catalog.engine, n.Number, Base{}) {
			id := Identity{Namespace: n.Number, Base: base}
			if err == nil && n.Kind == kindReplica {
				id, _, err = Find(r.catalog.engine, base)
			}
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// deleteObjects deletes the objects of a namespace. If they are groups, it also
// deletes their replicas, which would no longer be reachable.
func (r *migrating) deleteObjects(n Namespace) error {
	for id, err := range r.stored(n) {
		if err != nil {
			return err
		}
		if err := r.deleteObject(id); err != nil {
			return err
		}
	}
	if n.Kind != kindGroup {
		return nil
	}
	for _, other := range r.catalog.spaces {
		if other.Kind != kindReplica {
			continue
		}
		for id, err := range r.stored(other) {
			if err != nil {
				return err
			}
			if id.Group == nil || id.Group.Namespace != n.Number {
				continue
			}
			if err := r.deleteObject(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *migrating) deleteObject(id Identity) error {
	o := NewObject(r.catalog.engine, id)
	o.DeleteAll()
	if _, _, err := o.fill(&r.bulk); err != nil {
		return err
	}
	return r.bulk.spill()
}

// moveObjects moves the objects of a namespace to another.
func (r *migrating) moveObjects(from, to Namespace) error {
	for id, err := range r.stored(from) {
		if err != nil {
			return err
		}
		if err := r.moveObject(id, to); err != nil {
			return err
		}
		if err := r.bulk.spill(); err != nil {
			return err
		}
	}
	return nil
}

// moveObject moves an object to another namespace. The move appears atomic,
// because data copied before the end is in no index.
func (r *migrating) moveObject(from Identity, target Namespace) error {
	old := NewObject(r.catalog.engine, from)
	alarm, pending, err := old.FirstAlarm()
	if err != nil {
		return err
	}
	to := Identity{Namespace: target.Number, Base: from.Base, Name: from.Name}
	if from.Name != "" {
		to.Base = r.baseOf(target.Origin, from.Name)
	}
	moved := NewObject(r.catalog.engine, to)
	if to.Base != from.Base {
		if err := r.copyObject(old, moved); err != nil {
			return err
		}
		old.DeleteAll()
		if _, _, err := old.fill(&r.bulk); err != nil {
			return err
		}
	} else {
		r.bulk.Delete(from.indexKey())
		if pending {
			r.bulk.Delete(old.dueAlarm(alarm.At).key())
		}
	}
	r.bulk.Set(moved.appendKey(nil, About, ""), to.encode())
	r.bulk.Set(to.indexKey(), nil)
	if pending {
		r.bulk.Set(moved.dueAlarm(alarm.At).key(), nil)
	}
	return nil
}

// copyObject copies everything except the identity. It uses several batches,
// because an object may be large.
func (r *migrating) copyObject(from, to *Object) error {
	identity := string(from.appendKey(nil, About, ""))
	for pair, err := range r.catalog.engine.Scan(from.prefix, successor(from.prefix), false) {
		if err != nil {
			return err
		}
		if string(pair.Key) == identity {
			continue
		}
		r.bulk.Set(slices.Concat(to.prefix, pair.Key[len(from.prefix):]), pair.Value)
		if err := r.bulk.spill(); err != nil {
			return err
		}
	}
	return nil
}
