package dog_test

import (
	"context"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// Kiosk is an object that takes payments.
type Kiosk struct{ dog.Object }

// Pay stores a payment.
func (k *Kiosk) Pay(_ context.Context, amount int) error {
	if amount <= 0 {
		return fmt.Errorf("nobody pays %d", amount)
	}
	return dog.Put(k.Storage(), "last", amount)
}

// Totals has what a dashboard shows, and costs little enough to be read every
// second.
func ExampleRuntime_Totals() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	kiosks, err := dog.RegisterObject[Kiosk](rt, "kiosk", nil)
	if err != nil {
		log.Fatal(err)
	}
	rt.Totals() // begins to count events

	for i, amount := range []int{5, 10, -1} {
		_ = dog.CallErr(context.Background(), kiosks.Named(fmt.Sprint("kiosk ", i%2)), (*Kiosk).Pay, amount)
	}

	for _, typ := range rt.Totals().Types {
		calls := typ.Events[dog.EventCall]
		fmt.Printf("%s: %d objects, %d calls, %d failed\n", typ.Name, typ.Objects, calls.Done, calls.Failed)
		fmt.Printf("%d writes, %d starts\n", typ.Writes, typ.Starts)
	}
	// Output:
	// kiosk: 2 objects, 3 calls, 1 failed
	// 2 writes, 2 starts
}
