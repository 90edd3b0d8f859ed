package dogview

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
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
	FailedAlarms(ctx context.Context, id dog.ID, from string, limit int) (failed []dog.Alarm, next string, err error)
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

var errAfter = bad("after is not from an earlier answer")

// A listing is a page of a list. Next continues it, and is "" at its end.
type listing[T any] struct {
	Items []T
	Next  string
}

// options returns those of a list that continues after a mark.
func options(prefix, after string) (o dog.ObjectListOptions, err error) {
	o.Prefix = prefix
	switch {
	case after == "":
	case after[0] == 'n':
		o.After = after[1:]
	case o.AfterID.UnmarshalText([]byte(after[1:])) != nil:
		return o, errAfter
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
	o, err := options(r.FormValue("prefix"), r.FormValue("after"))
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

// failedAlarm is an alarm that has failed, without its payload. What the
// program has put into it is shown to those who may see data.
type failedAlarm struct {
	Object  dog.ObjectInfo
	Name    *string `json:",omitempty"` // nil: not shown
	At      time.Time
	Retries int
	Err     string
}

// lookFor is how long one request looks for alarms that have failed.
const lookFor = patience / 2

// place is where a search for alarms goes on: in an object, after a mark.
type place struct {
	After  string
	Object dog.ID
	Alarm  []byte // the first name to look at, which may be no text; nil: all
}

func (p place) String() string {
	text, _ := json.Marshal(p) // never fails: there are only texts in it
	return base64.RawURLEncoding.EncodeToString(text)
}

// placeOf returns the place in an earlier answer.
func placeOf(text string) (p place, err error) {
	if text == "" {
		return p, nil
	}
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(plain, &p) != nil {
		return p, errAfter
	}
	return p, nil
}

// failed lists the alarms of a type that have failed. It looks at each object
// that has stored something, since nothing else knows of them, and stops in
// time, also between the alarms of an object.
func (v *View) failed(ctx context.Context, r *http.Request) (page listing[failedAlarm], err error) {
	page.Items = []failedAlarm{}
	ns, err := v.namespace(r.FormValue("type"))
	if err != nil {
		return page, err
	}
	begin, err := placeOf(r.FormValue("after"))
	if err != nil {
		return page, err
	}
	o, err := options("", begin.After)
	if err != nil {
		return page, err
	}
	looks, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	at := place{After: begin.After}
	for e, err := range ns.List(ctx, o) {
		if err != nil {
			return page, err
		}
		if len(page.Items) == pageSize || at.After != begin.After && looks.Err() != nil {
			page.Next = at.String()
			return page, nil
		}
		if e.Stored {
			from := ""
			if e.ID == begin.Object {
				from = string(begin.Alarm)
			}
			alarms, next, err := ns.FailedAlarms(looks, e.ID, from, pageSize-len(page.Items))
			for _, a := range alarms {
				page.Items = append(page.Items, shownAlarm(ctx, e, a))
			}
			if errors.Is(err, dog.ErrShutdown) {
				return page, err
			}
			if err != nil { // the others are shown all the same
				v.options.Logger.Error("dogview cannot read the alarms of an object", "id", e.ID, "error", err)
				const why = "the alarms of this object cannot be read: the log has the reason"
				page.Items = append(page.Items, failedAlarm{Object: e.ObjectInfo, Err: why})
			}
			if next != "" {
				at.Object, at.Alarm = e.ID, []byte(next)
				page.Next = at.String()
				return page, nil
			}
		}
		at.After = mark(e)
	}
	return page, nil
}

func shownAlarm(ctx context.Context, e dog.ObjectEntry, a dog.Alarm) failedAlarm {
	f := failedAlarm{Object: e.ObjectInfo, At: a.At, Retries: a.Retries}
	if rightsOf(ctx)&Data != 0 {
		f.Name, f.Err = &a.Name, a.Err
	}
	return f
}
