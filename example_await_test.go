package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/godurable/dog"
)

// Weather is a group of stations.
type Weather struct{ dog.Group }

// Station fetches a report once, however many ask for it while the fetch is under way.
type Station struct {
	dog.Replica
	fetch    func() (string, error) // slow
	report   string
	fetching chan struct{} // closed when report is there; nil: nobody has asked yet
}

// Receive answers with the report.
func (s *Station) Receive(w http.ResponseWriter, req *http.Request) {
	ctx := req.Context()
	if s.fetching != nil { // another request has begun: wait for it
		done := s.fetching
		if err := dog.Await(ctx, func() error { <-done; return nil }); err != nil {
			dog.WriteError(w, err)
			return
		}
		fmt.Fprint(w, s.report)
		return
	}
	s.fetching = make(chan struct{})
	defer close(s.fetching)
	var report string
	err := dog.Await(ctx, func() (err error) { // other requests are handled meanwhile
		report, err = s.fetch()
		return err
	})
	if err != nil {
		dog.WriteError(w, err)
		return
	}
	s.report = report
	fmt.Fprint(w, s.report)
}

// A handler that waits for something slow lets the object's other events run.
func ExampleAwait() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	groups, err := dog.RegisterGroup(rt, "weather", func(g *Weather) { g.Limit = 1000 })
	if err != nil {
		log.Fatal(err)
	}
	allAsked := make(chan struct{})
	fetches := 0
	stations, err := dog.RegisterReplica(rt, "station", func(s *Station) {
		s.fetch = func() (string, error) {
			fetches++
			<-allAsked
			return "sunny", nil
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	family := dog.Link(groups, stations)

	var asking, asked sync.WaitGroup
	asked.Add(3)
	for i := range 3 {
		asking.Go(func() {
			stub, err := dog.Identify(context.Background(), groups.Named("alps"), fmt.Sprint("hiker ", i), family)
			if err != nil {
				log.Fatal(err)
			}
			asked.Done()
			answer := httptest.NewRecorder()
			stub.ServeHTTP(answer, httptest.NewRequest("GET", "/", nil))
			fmt.Println(answer.Body.String())
		})
	}
	asked.Wait()
	close(allAsked)
	asking.Wait()
	fmt.Println(fetches, "fetch")
	// Output:
	// sunny
	// sunny
	// sunny
	// 1 fetch
}
