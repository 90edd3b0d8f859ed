package dog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// Sensor is code outside of all objects, which reports from goroutines of its
// own.
type Sensor struct{ report func(degrees int) }

var cellarSensor Sensor

// A Cellar wants to know what the sensor reports. Its fields belong to its
// turn, so the sensor's goroutine calls it like any other caller.
type Cellar struct {
	dog.Object
	warmest int
}

func (c *Cellar) OnStart(context.Context) error {
	self := dog.Self(c) // still leads to the cellar when c has left memory
	cellarSensor.report = func(degrees int) {
		if err := dog.CallErr(context.Background(), self, (*Cellar).Note, degrees); err != nil {
			log.Print(err)
		}
	}
	return nil
}

func (c *Cellar) Note(_ context.Context, degrees int) error {
	c.warmest = max(c.warmest, degrees)
	return nil
}

func (c *Cellar) Warmest(context.Context) (int, error) { return c.warmest, nil }

// An object passes on its own address, so that others can call it.
func ExampleSelf() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	cellars, err := dog.RegisterObject[Cellar](rt, "cellar", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	cellar := cellars.Named("wine")
	fmt.Println(dog.Call0(ctx, cellar, (*Cellar).Warmest))
	cellarSensor.report(12)
	cellarSensor.report(11)
	fmt.Println(dog.Call0(ctx, cellar, (*Cellar).Warmest))

	if err := rt.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 0 <nil>
	// 12 <nil>
}
