package dog_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// A Profile counts the visits of a user.
type Profile struct{ dog.Object }

// Visit returns how often the user has been here.
func (p *Profile) Visit(context.Context) (int, error) {
	return dog.Update(p.Storage(), "visits", func(n int) (int, error) { return n + 1, nil })
}

// visit runs a release of the program, whose type is registered under a name.
func visit(dir, name string, migrations ...dog.Migration) {
	rt, err := dog.New(dog.Options{Store: disk.At(dir), Migrations: migrations})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	profiles, err := dog.RegisterObject[Profile](rt, name, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(dog.Call0(context.Background(), profiles.Named("ada"), (*Profile).Visit))
}

// A release that registers a type under another name declares a migration, and
// then finds the objects of earlier releases.
func ExampleMigration() {
	dir, err := os.MkdirTemp("", "profiles-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	visit(dir, "user")
	visit(dir, "profile", dog.Migration{Tag: "v2", Renamed: map[string]string{"user": "profile"}})
	// Output:
	// 1 <nil>
	// 2 <nil>
}
