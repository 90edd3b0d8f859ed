package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// A Wallet stores its balance and the last payments.
type Wallet struct{ dog.Object }

// errPoor is the error of a payment that the balance does not cover.
var errPoor = errors.New("not enough money")

// Pay changes the balance and records the payment: both or neither.
func (w *Wallet) Pay(_ context.Context, amount int) error {
	return w.Storage().Transaction(func() error {
		payments := dog.MapOf[int](w.Storage(), "payment/")
		count, err := dog.Update(w.Storage(), "count", func(n int) (int, error) { return n + 1, nil })
		if err != nil {
			return err
		}
		if err := payments.Put(fmt.Sprintf("%06d", count), amount); err != nil {
			return err
		}
		_, err = dog.Update(w.Storage(), "balance", func(balance int) (int, error) {
			if balance += amount; balance < 0 {
				return 0, errPoor
			}
			return balance, nil
		})
		return err
	})
}

// Last returns the last payments, newest first.
func (w *Wallet) Last(_ context.Context, n int) ([]int, error) {
	var amounts []int
	payments := dog.MapOf[int](w.Storage(), "payment/")
	for payment, err := range payments.List(dog.ListOptions{Reverse: true, Limit: n}) {
		if err != nil {
			return nil, err
		}
		amounts = append(amounts, payment.Value)
	}
	return amounts, nil
}

// Keys hold values of Go types. A transaction that fails changes nothing.
func ExampleStorage() {
	rt, err := dog.New(dog.Options{}) // in memory; with disk.At, in a directory
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	wallets, err := dog.RegisterObject[Wallet](rt, "wallet", nil)
	if err != nil {
		log.Fatal(err)
	}

	ctx, ada := context.Background(), wallets.Named("ada")
	for _, amount := range []int{100, -30, -80, -50} {
		fmt.Println(amount, dog.CallErr(ctx, ada, (*Wallet).Pay, amount))
	}
	fmt.Println(dog.Call(ctx, ada, (*Wallet).Last, 2))
	// Output:
	// 100 <nil>
	// -30 <nil>
	// -80 not enough money
	// -50 <nil>
	// [-50 -30] <nil>
}
