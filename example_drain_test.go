package dog_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/godurable/dog"
)

// Market is a group that names its tills.
type Market struct{ dog.Group }

// Clusterize names a new till with the first number that is free.
func (m *Market) Clusterize(context.Context, string) (string, error) {
	taken := make(map[string]bool)
	for till := range m.Replicas() {
		taken[till.Name] = true
	}
	for n := 1; ; n++ {
		if name := fmt.Sprint("till ", n); !taken[name] {
			return name, nil
		}
	}
}

// Till serves customers.
type Till struct{ dog.Replica }

func (t *Till) Receive(w http.ResponseWriter, _ *http.Request) error {
	fmt.Fprint(w, "served at ", t.Name())
	return nil
}

// A replica that is drained keeps its clients and gets no new clients.
func ExampleGroupStub_Drain() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	tills, err := dog.RegisterReplica[Till](rt, "till", nil)
	if err != nil {
		log.Fatal(err)
	}
	markets, err := dog.RegisterGroup(rt, "market", tills, &dog.GroupOptions[Market]{Limit: 2})
	if err != nil {
		log.Fatal(err)
	}
	market := markets.Named("harbour")

	enter := func(customer string) {
		till, err := market.Identify(context.Background(), customer) // reserves a place
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(customer, "goes to", till.Name())
	}
	for _, customer := range []string{"ada", "bob", "cyd"} {
		enter(customer)
	}
	for till := range market.Replicas() {
		fmt.Printf("%s: %d of %d places taken\n", till.Name, till.Load, till.Limit)
		if till.Name == "till 2" {
			if err := market.Drain(context.Background(), till.ID); err != nil {
				log.Fatal(err)
			}
		}
	}
	enter("dan")
	// Output:
	// ada goes to till 1
	// bob goes to till 1
	// cyd goes to till 2
	// till 1: 2 of 2 places taken
	// till 2: 1 of 2 places taken
	// dan goes to till 3
}
