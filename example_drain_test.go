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

func (t *Till) Receive(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served at ", t.Name()) }

// A replica that is drained keeps the clients it has and gets no new ones.
func ExampleFamily_Drain() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	markets, err := dog.RegisterGroup(rt, "market", func(m *Market) { m.Limit = 2 })
	if err != nil {
		log.Fatal(err)
	}
	tills, err := dog.RegisterReplica(rt, "till", func(*Till) {})
	if err != nil {
		log.Fatal(err)
	}
	family := dog.Link(markets, tills)
	market := markets.Named("harbour")

	enter := func(customer string) {
		till, err := dog.Identify(context.Background(), market, customer, family) // reserves a place
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(customer, "goes to", till.Name())
	}
	for _, customer := range []string{"ada", "bob", "cyd"} {
		enter(customer)
	}
	for till := range family.Replicas(market) {
		fmt.Printf("%s: %d of %d places taken\n", till.Name, till.Load, till.Limit)
		if till.Name == "till 2" {
			if err := family.Drain(context.Background(), market, till.ID); err != nil {
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
