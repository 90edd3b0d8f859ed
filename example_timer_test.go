package dog_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/godurable/dog"
)

// A Race moves its players twenty times a second.
type Race struct {
	dog.Object
	position int
	finished chan<- int
}

// OnStart starts the loop, which ends with this life of the object.
func (r *Race) OnStart(context.Context) error {
	r.Every(time.Second/20, r.tick)
	return nil
}

// tick runs as an event of the object, so it needs no lock.
func (r *Race) tick(context.Context) error {
	if r.position++; r.position == 3 {
		r.finished <- r.position
	}
	return nil
}

// Begin starts the race.
func (r *Race) Begin(context.Context) error { return nil }

// A timer lives as long as the object is in memory, like the loop of a game.
// Use an alarm for work that must survive.
func ExampleObject_Every() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	finished := make(chan int, 1)
	races, err := dog.RegisterObject(
		rt, "race", &dog.ObjectOptions[Race]{New: func() *Race { return &Race{finished: finished} }},
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := dog.CallErr0(context.Background(), races.Named("monza"), (*Race).Begin); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-finished)
	// Output: 3
}
