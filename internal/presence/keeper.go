package presence

import "github.com/godurable/dog/internal/store"

// A Keeper stores the changes that the owner of a durable list has got, in the
// transactions of the owner. So a change is kept together with the owner's
// writes and messages for it. It implements tx.Keeper.
type Keeper struct {
	list *Attendance
	next Next
}

// Next is another tx.Keeper.
type Next interface {
	Commit(data *store.Object, messages []any, commit func() (store.Commit, error)) (store.Commit, error)
}

// NewKeeper returns the Keeper of a life of the owner. next, which may be nil,
// keeps the rest. A change is not handled if the life before has not stored
// that it is.
func NewKeeper(list *Attendance, next Next) Keeper {
	list.handle(false)
	return Keeper{list, next}
}

// Commit implements tx.Keeper.
func (k Keeper) Commit(
	data *store.Object, messages []any, commit func() (store.Commit, error),
) (store.Commit, error) {
	stored := k.list.stage(data)
	var done store.Commit
	var err error
	if k.next != nil {
		done, err = k.next.Commit(data, messages, commit)
	} else {
		done, err = commit()
	}
	if stored && err == nil {
		k.list.stored()
	}
	return done, err
}

// stage adds to a transaction what is not stored yet, and reports whether there
// is anything.
func (a *Attendance) stage(data *store.Object) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	wiped := data.Wiped()
	if !a.unstored && !wiped {
		return false
	}
	_, base := a.owner.Store()
	notes := data.Notes(base, store.Crowd)
	if wiped { // the delivered changes still hold
		for s := range a.list.All() {
			if s.Told {
				notes.Set(s.UID, s.encode())
			}
		}
	} else {
		a.list.taken.stage(notes)
	}
	a.stageHeaderLocked(notes)
	return true
}

// stage stores the difference that a change makes.
func (c *Change) stage(notes store.Notes) {
	for _, members := range [][]Member{c.Joined, c.Changed} {
		for _, m := range members {
			notes.Set(m.UID, Stored{Member: m, Here: true, Told: true}.encode())
		}
	}
	for _, m := range c.Left {
		notes.Delete(m.UID)
	}
}

// stored notes that a transaction has stored what was not stored.
func (a *Attendance) stored() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unstored = false
}

// handle notes whether the change that was taken has been handled, as far as
// the transaction of its handler knows. The next transaction stores that.
func (a *Attendance) handle(handled bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handled, a.unstored = handled, a.list.c.Durable && a.list.taken != nil
}
