package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/godurable/dog"
)

// Reminder keeps what somebody wants to be reminded of.
type Reminder struct {
	dog.Object
	sent chan<- string
}

// Remind sets an alarm, which outlives the process if the store does.
func (r *Reminder) Remind(_ context.Context, what string) error {
	return r.Storage().Alarms().SetNamed(what, time.Now().Add(10*time.Millisecond), []byte("don't forget: "+what))
}

// Forget cancels one.
func (r *Reminder) Forget(_ context.Context, what string) (bool, error) {
	return r.Storage().Alarms().Delete(what)
}

// OnAlarm runs again, later, when it returns an error.
func (r *Reminder) OnAlarm(_ context.Context, a dog.AlarmInfo) error {
	if a.Retry > 6 {
		return errors.New("never reached: an alarm is run seven times")
	}
	r.sent <- r.Name() + ", " + string(a.Payload)
	return nil
}

// Objects are woken by alarms, whether they are in memory or not.
func ExampleAlarms() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	sent := make(chan string)
	reminders, err := dog.RegisterObject(rt, "reminder", func(r *Reminder) { r.sent = sent })
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	ada := reminders.Named("ada")
	for _, what := range []string{"tea", "the train"} {
		if err := dog.Do(ctx, ada, (*Reminder).Remind, what); err != nil {
			log.Fatal(err)
		}
	}
	forgotten, err := dog.Call(ctx, ada, (*Reminder).Forget, "the train")
	fmt.Println(forgotten, err)
	fmt.Println(<-sent)
	// Output:
	// true <nil>
	// ada, don't forget: tea
}
