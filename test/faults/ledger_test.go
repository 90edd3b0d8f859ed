package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/godurable/dog"
)

// A ledger counts its turns, in every way of storing: a turn is a row, an
// alarm, and the count under keys that are written first and last. So half a
// turn shows.
type ledger struct {
	dog.Object
	others *dog.Namespace[ledger]
}

// ledgerReplica is a ledger of sockets.
type ledgerReplica struct{ dog.Replica }

// ledgerGroup is the group of one ledgerReplica, which is named after it.
type ledgerGroup struct{ dog.Group }

var ledgerSchema = dog.Schema{`CREATE TABLE turns (n INTEGER PRIMARY KEY, pad TEXT)`}

// newLedgers registers ledgers, groups and replicas.
func newLedgers(rt *dog.Runtime) (*dog.Namespace[ledger], *dog.Groups[ledgerGroup, ledgerReplica], error) {
	var ledgers *dog.Namespace[ledger]
	ledgers, e1 := dog.RegisterObject(
		rt, "ledger",
		&dog.ObjectOptions[ledger]{New: func() *ledger { return &ledger{others: ledgers} }, Schema: ledgerSchema},
	)
	replicas, e3 := dog.RegisterReplica(rt, "ledgerReplica", &dog.ReplicaOptions[ledgerReplica]{Schema: ledgerSchema})
	groups, e2 := dog.RegisterGroup(
		rt, "ledgerGroup", replicas, &dog.GroupOptions[ledgerGroup]{Limit: 100, MaxReplicas: 1},
	)
	if err := errors.Join(e1, e2, e3); err != nil {
		return nil, nil, err
	}
	return ledgers, groups, nil
}

// serveLedgers serves POST /ledger/NAME, which takes a turn and answers with
// its number, and sockets at /replica/NAME.
func serveLedgers(rt *dog.Runtime) (http.Handler, error) {
	ledgers, groups, err := newLedgers(rt)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /ledger/{name}", func(w http.ResponseWriter, req *http.Request) {
		ledgers.Named(req.PathValue("name")).ServeHTTP(w, req)
	})
	mux.HandleFunc("GET /replica/{name}", func(w http.ResponseWriter, req *http.Request) {
		stub, err := groups.Named(req.PathValue("name")).Identify(req.Context(), req.URL.Query().Get("u"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		stub.ServeHTTP(w, req)
	})
	return mux, err
}

// takeTurn stores the next turn and returns its number.
func takeTurn(s *dog.Storage) (n int, err error) {
	counts := dog.MapOf[int](s, "")
	if n, err = counts.Update("first", func(n int) (int, error) { return n + 1, nil }); err != nil {
		return 0, err
	}
	// Some hundred bytes a turn make the store write its tables while the test
	// lasts.
	_, err = s.SQL().Exec(`INSERT INTO turns (n, pad) VALUES (?, hex(randomblob(100)))`, n)
	return n, errors.Join(err,
		s.Alarms().SetNamed("turn", time.Date(2200, 1, 1, 0, 0, n, 0, time.UTC), []byte(strconv.Itoa(n))),
		counts.Put("last", n),
	)
}

// turnsOf returns how many turns a storage has, or an error when it has half a
// one.
func turnsOf(s *dog.Storage) (n int, err error) {
	counts := dog.MapOf[int](s, "")
	n, _, e1 := counts.Get("first")
	last, _, e2 := counts.Get("last")
	rows, _, e3 := dog.QueryRowAs[int](s.SQL(), `SELECT count(*) FROM turns`)
	highest, _, e4 := dog.QueryRowAs[int](s.SQL(), `SELECT coalesce(max(n), 0) FROM turns`)
	alarm, _, e5 := s.Alarms().Get("turn")
	if err := errors.Join(e1, e2, e3, e4, e5); err != nil {
		return 0, err
	}
	set := 0
	if len(alarm.Payload) > 0 {
		set = int(alarm.At.Sub(time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)).Seconds())
	}
	if n != last || n != rows || n != highest || n != set || n != 0 && string(alarm.Payload) != strconv.Itoa(n) {
		return 0, fmt.Errorf(
			"half a turn: keys %d and %d, %d rows up to %d, alarm %d %q", n, last, rows, highest, set,
			alarm.Payload,
		)
	}
	return n, nil
}

// Receive takes a turn, reports it to the ledger named in the query, if any,
// and answers with its number.
func (l *ledger) Receive(w http.ResponseWriter, req *http.Request) error {
	n, err := takeTurn(l.Storage())
	if other := req.URL.Query().Get("report"); err == nil && other != "" {
		err = dog.CallErr(req.Context(), l.others.Named(other), (*ledger).Update, report{l.Name(), n})
	}
	if err != nil {
		dog.WriteError(w, err)
		return nil
	}
	_, _ = fmt.Fprint(w, n)
	return nil
}

// report states that a ledger has taken a turn.
type report struct {
	From string
	Turn int
}

// Update keeps the latest turn of another ledger.
func (l *ledger) Update(_ context.Context, r report) error {
	_, err := l.received().Update(r.From, func(n int) (int, error) { return max(n, r.Turn), nil })
	return err
}

func (l *ledger) received() dog.Map[int] {
	return dog.MapOf[int](l.Storage(), "received/")
}

func (*ledger) OnAlarm(context.Context, dog.Alarm) error { return nil }

func (d *ledgerGroup) Clusterize(context.Context, string) (string, error) {
	return "ledgerReplica of " + d.Name(), nil
}

func (p *ledgerReplica) Receive(w http.ResponseWriter, req *http.Request) error {
	_, err := p.Connect(w, req, nil)
	return err
}

// OnMessage takes a turn and sends its number to all sockets, with an
// exclamation mark to the one that asked for it.
func (p *ledgerReplica) OnMessage(_ context.Context, s *dog.Socket, _ dog.Message) error {
	n, err := takeTurn(p.Storage())
	if err != nil {
		return err
	}
	return errors.Join(s.Emit(strconv.Itoa(n)), s.Send(strconv.Itoa(n)+"!"))
}

func (*ledgerReplica) OnAlarm(context.Context, dog.Alarm) error { return nil }
