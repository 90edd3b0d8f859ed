package dogview

import (
	"cmp"
	"context"
	"iter"
	"net/http"
	"slices"
	"time"

	"github.com/godurable/dog"
	"github.com/godurable/dog/internal/hook"
)

// pageSize is how many things of a list are sent at a time.
const pageSize = 100

// A namespace is a registered type. Package dog implements it, and documents
// the methods.
type namespace interface {
	List(ctx context.Context, options dog.ObjectListOptions) iter.Seq2[dog.ObjectEntry, error]
	Find(ctx context.Context, id dog.ID) (entry dog.ObjectEntry, found bool, err error)
	Live(id dog.ID) (dog.LiveObject, bool)
	Group(id dog.ID) (dog.GroupStats, bool)
	Read(ctx context.Context, id dog.ID, f func(*dog.Storage) error) error
	FailedAlarms(id dog.ID) ([]dog.Alarm, error)
	RunAgain(ctx context.Context, id dog.ID, alarm string) (found bool, err error)
	Abort(id dog.ID, reason error) error
	Drain(ctx context.Context, group, replica dog.ID) error
}

// namespace returns the type with a name.
func (v *View) namespace(name string) (namespace, error) {
	if ns, ok := hook.Look(v.rt, name).(namespace); ok {
		return ns, nil
	}
	return nil, missing("no type is registered under this name")
}

// target returns the object that a request names, and its type.
func (v *View) target(kind, id string) (ns namespace, object dog.ID, err error) {
	if ns, err = v.namespace(kind); err != nil {
		return nil, dog.ID{}, err
	}
	if object.UnmarshalText([]byte(id)) != nil {
		return nil, dog.ID{}, bad("id is not an ID of an object")
	}
	return ns, object, nil
}

// asked is target for the parameters type and id.
func (v *View) asked(r *http.Request) (ns namespace, object dog.ID, err error) {
	return v.target(r.FormValue("type"), r.FormValue("id"))
}

// A listing is a page of a list. Next continues it, and is "" at its end.
type listing[T any] struct {
	Items []T
	Next  string
}

// options returns those of a list that a request continues.
func options(r *http.Request) (o dog.ObjectListOptions, err error) {
	o.Prefix = r.FormValue("prefix")
	switch after := r.FormValue("after"); {
	case after == "":
	case after[0] == 'n':
		o.After = after[1:]
	case o.AfterID.UnmarshalText([]byte(after[1:])) != nil:
		return o, bad("after is not from an earlier answer")
	}
	return o, nil
}

// mark returns what continues a list after an object.
func mark(e dog.ObjectEntry) string {
	if e.Name == "" || e.Kind == dog.KindReplica {
		return "i" + e.ID.String()
	}
	return "n" + e.Name
}

// objects lists the objects of a type.
func (v *View) objects(ctx context.Context, r *http.Request) (page listing[dog.ObjectEntry], err error) {
	page.Items = []dog.ObjectEntry{}
	ns, err := v.namespace(r.FormValue("type"))
	if err != nil {
		return page, err
	}
	o, err := options(r)
	if err != nil {
		return page, err
	}
	for e, err := range ns.List(ctx, o) {
		if err != nil {
			return page, err
		}
		if len(page.Items) == pageSize {
			page.Next = mark(page.Items[pageSize-1])
			break
		}
		page.Items = append(page.Items, e)
	}
	return page, nil
}

// groupNow is a group in a list.
type groupNow struct {
	dog.ObjectEntry
	Limit, Replicas, Draining, Load, Sockets, UIDs, Members int
}

// groups lists the groups of a type.
func (v *View) groups(ctx context.Context, r *http.Request) (page listing[groupNow], err error) {
	page.Items = []groupNow{}
	listed, err := v.objects(ctx, r)
	if err != nil {
		return page, err
	}
	ns, err := v.namespace(r.FormValue("type"))
	if err != nil {
		return page, err
	}
	page.Next = listed.Next
	for _, e := range listed.Items {
		if e.Kind != dog.KindGroup {
			return page, bad("the type is not one of groups")
		}
		g := groupNow{ObjectEntry: e}
		if stats, found := ns.Group(e.ID); found {
			g.Limit, g.Replicas, g.UIDs, g.Members = stats.Limit, len(stats.Replicas), stats.UIDs, stats.Members
			for _, replica := range stats.Replicas {
				g.Load += replica.Load
				g.Sockets += replica.Sockets
				if replica.Draining {
					g.Draining++
				}
			}
		}
		page.Items = append(page.Items, g)
	}
	return page, nil
}

// group returns a group with the replicas that have the most load.
func (v *View) group(_ context.Context, r *http.Request) (stats dog.GroupStats, err error) {
	ns, id, err := v.asked(r)
	if err != nil {
		return stats, err
	}
	stats, found := ns.Group(id)
	if !found {
		return stats, missing("no group with this ID is in memory")
	}
	slices.SortFunc(stats.Replicas, func(a, b dog.ReplicaStats) int {
		return cmp.Or(b.Load-a.Load, cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	stats.Replicas = stats.Replicas[:min(len(stats.Replicas), pageSize)]
	return stats, nil
}

// slow returns the sockets that have the most to send.
func (v *View) slow(context.Context, *http.Request) (page listing[dog.SlowSocket], err error) {
	page.Items = append([]dog.SlowSocket{}, v.rt.SlowSockets(pageSize)...)
	return page, nil
}

// failedAlarm is an alarm that has failed, without its payload.
type failedAlarm struct {
	Object  dog.ObjectInfo
	Name    string
	At      time.Time
	Retries int
	Err     string
}

// lookFor is how long one request looks for alarms that have failed.
const lookFor = patience / 2

// failed lists the alarms of a type that have failed. It looks at each object
// that has stored something, since nothing else knows of them, and stops in
// time.
func (v *View) failed(ctx context.Context, r *http.Request) (page listing[failedAlarm], err error) {
	page.Items = []failedAlarm{}
	ns, err := v.namespace(r.FormValue("type"))
	if err != nil {
		return page, err
	}
	o, err := options(r)
	if err != nil {
		return page, err
	}
	end, last := time.Now().Add(lookFor), ""
	for e, err := range ns.List(ctx, o) {
		if err != nil {
			return page, err
		}
		if len(page.Items) >= pageSize || last != "" && time.Now().After(end) {
			page.Next = last
			return page, nil
		}
		last = mark(e)
		if !e.Stored {
			continue
		}
		alarms, err := ns.FailedAlarms(e.ID)
		if err != nil { // the others are shown all the same
			page.Items = append(page.Items, failedAlarm{Object: e.ObjectInfo, Err: err.Error()})
		}
		for _, a := range alarms[:min(len(alarms), pageSize)] {
			page.Items = append(page.Items, failedAlarm{e.ObjectInfo, a.Name, a.At, a.Retries, a.Err})
		}
	}
	return page, nil
}
