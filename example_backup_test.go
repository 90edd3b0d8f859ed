package dog_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
)

// Diary is an object that is kept for years.
type Diary struct{ dog.Object }

func (d *Diary) pages() dog.Map[string] { return dog.MapOf[string](d.Storage(), "") }

func (d *Diary) Write(_ context.Context, text string) error { return d.pages().Put("today", text) }

func (d *Diary) Read(context.Context) (string, error) {
	text, _, err := d.pages().Get("today")
	return text, err
}

// openDiaries opens a data directory with a release of the program that
// registers diaries under this name.
func openDiaries(dir, name string, migrations ...dog.Migration) (*dog.Runtime, *dog.Namespace[Diary]) {
	rt, err := dog.New(dog.Options{Store: disk.At(dir), Migrations: migrations})
	if err != nil {
		log.Fatal(err)
	}
	diaries, err := dog.RegisterObject[Diary](rt, name, nil)
	if err != nil {
		log.Fatal(err)
	}
	return rt, diaries
}

// Backup copies a store while it is in use. The copy is opened like the
// original, here by a later release that has renamed the namespace. Export
// writes one object to a SQLite file.
func ExampleRuntime_Backup() {
	dir, err := os.MkdirTemp("", "diaries")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, copied, file := context.Background(), filepath.Join(dir, "copy"), filepath.Join(dir, "ada.sqlite")

	rt, diaries := openDiaries(filepath.Join(dir, "data"), "diary")
	ada := diaries.Named("ada")
	fmt.Println(dog.CallErr(ctx, ada, (*Diary).Write, "walked the dog"))
	fmt.Println(rt.Backup(ctx, copied), ada.Export(ctx, file), rt.Shutdown(ctx))

	rt, diaries = openDiaries(
		copied, "journal", dog.Migration{Tag: "v2", Renamed: map[string]string{"diary": "journal"}},
	)
	fmt.Println(dog.Call0(ctx, diaries.Named("ada"), (*Diary).Read))
	fmt.Println(diaries.Named("ada's heirs").Import(ctx, file))
	fmt.Println(dog.Call0(ctx, diaries.Named("ada's heirs"), (*Diary).Read))
	fmt.Println(rt.Shutdown(ctx))
	// Output:
	// <nil>
	// <nil> <nil> <nil>
	// walked the dog <nil>
	// <nil>
	// walked the dog <nil>
	// <nil>
}
