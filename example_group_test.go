package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// A Ferry carries cars over a river.
type Ferry struct{ dog.Replica }

// A group spreads uids over replicas, with at most Limit of them on each. A uid
// that has a place gets the same replica again.
func ExampleRegisterGroup() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	ferries, err := dog.RegisterReplica[Ferry](rt, "ferry", nil)
	if err != nil {
		log.Fatal(err)
	}
	harbours, err := dog.RegisterGroup(rt, "harbour", ferries, &dog.GroupOptions[dog.Group]{Limit: 2, MaxReplicas: 2})
	if err != nil {
		log.Fatal(err)
	}

	harbour := harbours.Named("north")
	number := make(map[dog.ID]int) // of each ferry, in the order of first use
	for _, car := range []string{"a", "b", "c", "d", "e"} {
		ferry, err := harbour.Identify(context.Background(), car)
		if errors.Is(err, dog.ErrGroupFull) {
			fmt.Println(car, "finds no ferry")
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		defer ferry.Release() // or serve a request with it: ferry.ServeHTTP(w, r)
		if _, known := number[ferry.ID()]; !known {
			number[ferry.ID()] = len(number) + 1
		}
		fmt.Println(car, "takes ferry", number[ferry.ID()])
	}
	// Output:
	// a takes ferry 1
	// b takes ferry 1
	// c takes ferry 2
	// d takes ferry 2
	// e finds no ferry
}
