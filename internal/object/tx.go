package object

import (
	"log/slog"

	"github.com/godurable/dog/internal/store"
)

// Keep adds a message to the transaction of the event that has the turn, and
// calls added before that ends. It returns false if there is no such event. See
// [tx.Tx.Keep].
func (o *Object) Keep(message any, added func() error) (kept bool, err error) {
	if life := o.current.Load(); life != nil {
		return life.Tx.Keep(message, added)
	}
	return false, nil
}

// txOwner is a life as its transaction sees it.
type txOwner Life

func (o *txOwner) Running() error { return o.turn.Running() }

func (o *txOwner) Open() *store.Object {
	return store.NewObject(o.obj.host().Engine, o.obj.identity())
}

func (o *txOwner) OpenSQL(pages store.Pages) (store.SQL, error) {
	return o.obj.host().Engine.OpenSQL(pages, o.obj.host().SQLLimits)
}

func (o *txOwner) Writable() error { return o.obj.host().Engine.Writable() }

func (o *txOwner) Lock() (over error) {
	o.end.Lock()
	return o.ended
}

func (o *txOwner) Unlock() { o.end.Unlock() }

func (o *txOwner) Wrote() { o.obj.Gate.Wrote() }

func (o *txOwner) Committed(done store.Commit) {
	o.obj.Gate.Committed(done.Number)
	o.obj.stores.Store(true)
	if done.Alarm != 0 {
		c := o.obj.Class
		c.schedule.Set(store.DueAlarm{At: done.Alarm, Namespace: c.Number, Base: o.obj.ID.Base()})
	}
}

func (o *txOwner) Failed(cause error) { o.obj.Gate.Failed(cause) }

func (o *txOwner) Reset(cause error) error { return (*Life)(o).Reset(cause) }

func (o *txOwner) Log() *slog.Logger { return o.obj.Log() }
