package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/godurable/dog"
)

// Weather is a group of stations.
type Weather struct{ dog.Group }

// Station fetches a report once, however many requests arrive during the fetch.
type Station struct {
	dog.Replica
	fetch    func() (string, error) // slow; fixed
	report   string
	known    bool          // report is there
	fetching chan struct{} // closed at the end of the current fetch; nil if there is none
}

// Receive responds with the report.
func (s *Station) Receive(w http.ResponseWriter, req *http.Request) error {
	ctx := req.Context()
	var err error
	switch {
	case s.fetching != nil: // for another request: wait for it
		done := s.fetching
		err = dog.Await(ctx, func() error { <-done; return nil })
	case !s.known:
		err = s.refresh(ctx)
	}
	switch {
	case err != nil:
		dog.WriteError(w, err)
	case !s.known: // the fetch of another request failed; the next request tries again
		http.Error(w, http.StatusText(http.StatusBadGateway), http.StatusBadGateway)
	default:
		fmt.Fprint(w, s.report)
	}
	return nil
}

// refresh fetches the report. The station's fields are its own before and after
// Await, but not during it.
func (s *Station) refresh(ctx context.Context) error {
	done := make(chan struct{})
	s.fetching = done
	defer func() {
		s.fetching = nil
		close(done)
	}()
	fetch := s.fetch
	var report string
	err := dog.Await(ctx, func() (err error) { // other requests are handled while this waits
		report, err = fetch()
		return err
	})
	if err != nil {
		return err
	}
	s.report, s.known = report, true
	return nil
}

// A handler that waits in Await lets the object's other events run.
func ExampleAwait() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	allAsk := make(chan struct{})
	fetches := 0
	fetch := func() (string, error) {
		if fetches++; fetches == 1 {
			return "", errors.New("clouds in the line")
		}
		<-allAsk
		return "sunny", nil
	}
	stations, err := dog.RegisterReplica(rt, "station", &dog.ReplicaOptions[Station]{
		New: func() *Station { return &Station{fetch: fetch} },
	})
	if err != nil {
		log.Fatal(err)
	}
	groups, err := dog.RegisterGroup(rt, "weather", stations, &dog.GroupOptions[Weather]{Limit: 1000})
	if err != nil {
		log.Fatal(err)
	}

	var stubs []dog.Stub[Station]
	for i := range 4 {
		stub, err := groups.Named("alps").Identify(context.Background(), fmt.Sprint("hiker ", i))
		if err != nil {
			log.Fatal(err)
		}
		stubs = append(stubs, stub)
	}
	ask := func(stub dog.Stub[Station]) {
		answer := httptest.NewRecorder()
		stub.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
		fmt.Println(answer.Code, strings.TrimSpace(answer.Body.String()))
	}
	ask(stubs[0]) // its fetch fails
	var asking, begun sync.WaitGroup
	for _, stub := range stubs[1:] {
		begun.Add(1)
		asking.Go(func() {
			begun.Done()
			ask(stub)
		})
	}
	begun.Wait()
	close(allAsk)
	asking.Wait()
	fmt.Println(fetches, "fetches")
	// Output:
	// 500 Internal Server Error
	// 200 sunny
	// 200 sunny
	// 200 sunny
	// 2 fetches
}
