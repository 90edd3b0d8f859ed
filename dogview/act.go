package dogview

import (
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"github.com/godurable/dog"
)

// maxOrder is the maximum size of what a client sends.
const maxOrder = 16 << 10

// An order is what somebody wants done.
type order struct {
	Type, ID string
	Replica  string // of drain; "": all replicas of the group
	Alarm    string // of again
}

// done says how much was done.
type done struct{ Done int }

// ordered returns the order of a request and the object that it is about.
func (v *View) ordered(r *http.Request) (o order, ns namespace, id dog.ID, err error) {
	// Forms of other sites cannot have this type, whatever their browser says.
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return o, nil, id, &problem{http.StatusUnsupportedMediaType, "the order is not application/json"}
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxOrder)).Decode(&o); err != nil {
		return o, nil, id, bad("the order is not JSON, or too long")
	}
	ns, id, err = v.target(o.Type, o.ID)
	return o, ns, id, err
}

// log logs what somebody has done.
func (v *View) log(r *http.Request, what string, o order, err error) {
	who := r.RemoteAddr
	if v.options.Who != nil {
		who = v.options.Who(r)
	}
	args := []any{"who", who, "what", what, "type", o.Type, "id", o.ID}
	if o.Replica != "" {
		args = append(args, "replica", o.Replica)
	}
	if what == "run again" {
		args = append(args, "alarm", o.Alarm)
	}
	if err != nil {
		args = append(args, "error", err)
	}
	v.options.Logger.Info("somebody acts in dogview", args...)
}

// drain drains a replica, or all replicas of a group.
func (v *View) drain(ctx context.Context, r *http.Request) (d done, err error) {
	o, ns, id, err := v.ordered(r)
	if err != nil {
		return d, err
	}
	group, found := ns.Group(id)
	if !found {
		return d, missing("no group with this ID is in memory")
	}
	var only dog.ID
	if o.Replica != "" && only.UnmarshalText([]byte(o.Replica)) != nil {
		return d, bad("replica is not an ID of an object")
	}
	defer func() { v.log(r, "drain", o, err) }()
	for _, replica := range group.Replicas {
		if o.Replica != "" && replica.ID != only || replica.Draining {
			continue
		}
		switch err := ns.Drain(ctx, id, replica.ID); {
		case errors.Is(err, dog.ErrReplicaGone): // it has ended meanwhile
		case err != nil:
			return d, err
		default:
			d.Done++
		}
	}
	if d.Done == 0 {
		return d, missing("nothing is there to drain")
	}
	return d, nil
}

// errReset is the cause of a reset that somebody wanted.
var errReset = errors.New("reset in dogview")

// reset resets an object, without waiting for its turn.
func (v *View) reset(_ context.Context, r *http.Request) (d done, err error) {
	o, ns, id, err := v.ordered(r)
	if err != nil {
		return d, err
	}
	if _, found := ns.Live(id); !found {
		return d, missing("no object with this ID is in memory")
	}
	err = ns.Abort(id, errReset)
	v.log(r, "reset", o, err)
	return done{1}, err
}

// again lets an alarm that has failed run now.
func (v *View) again(ctx context.Context, r *http.Request) (d done, err error) {
	o, ns, id, err := v.ordered(r)
	if err != nil {
		return d, err
	}
	found, err := ns.RunAgain(ctx, id, o.Alarm)
	switch {
	case errors.Is(err, dog.ErrReplicaGone):
		return d, &problem{http.StatusConflict, "the replica is not in memory"}
	case err == nil && !found:
		return d, missing("the object has no alarm with this name that has failed")
	}
	v.log(r, "run again", o, err)
	return done{1}, err
}
