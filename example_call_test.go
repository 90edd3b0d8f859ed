package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/godurable/dog"
)

// Account is an object with methods for others to call.
type Account struct {
	dog.Object
	cents int
}

var errFunds = errors.New("not enough money")

func (a *Account) Deposit(_ context.Context, cents int) (balance int, err error) {
	a.cents += cents
	return a.cents, nil
}

// Transfer asks another account and takes its own money first: its turn is given up during the call.
func (a *Account) Transfer(ctx context.Context, t Transfer) error {
	if a.cents < t.Cents {
		return fmt.Errorf("%s: %w", a.Name(), errFunds)
	}
	a.cents -= t.Cents
	if _, err := dog.Call(ctx, t.To, (*Account).Deposit, t.Cents); err != nil {
		a.cents += t.Cents
		return err
	}
	return nil
}

type Transfer struct {
	To    dog.Stub[Account]
	Cents int
}

// Typed calls between objects.
func ExampleCall() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	accounts, err := dog.RegisterObject[Account](rt, "account", nil)
	if err != nil {
		log.Fatal(err)
	}
	ada, bob := accounts.Named("ada"), accounts.Named("bob")

	ctx := context.Background()
	balance, err := dog.Call(ctx, ada, (*Account).Deposit, 100)
	fmt.Println("ada has", balance, err)
	fmt.Println(dog.Do(ctx, ada, (*Account).Transfer, Transfer{To: bob, Cents: 70}))
	err = dog.Do(ctx, ada, (*Account).Transfer, Transfer{To: bob, Cents: 70})
	fmt.Println(err, errors.Is(err, errFunds))

	if err := rt.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
	// Output:
	// ada has 100 <nil>
	// <nil>
	// ada: not enough money true
}
