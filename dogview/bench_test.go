package dogview

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

type thing struct{ dog.Object }

func (t *thing) Touch(context.Context) error { return nil }

// What a second costs while somebody looks, however many objects there are.
func BenchmarkSnapshot(b *testing.B) {
	for _, objects := range []int{10, 10_000} {
		b.Run(fmt.Sprint(objects, "-objects"), func(b *testing.B) {
			rt := dogtest.New(b, dog.Options{})
			for i := range 10 {
				things, err := dog.RegisterObject[thing](rt, fmt.Sprint("type ", i), nil)
				require.NoError(b, err)
				for n := range objects / 10 {
					stub := things.Named(fmt.Sprint(n))
					require.NoError(b, dog.CallErr0(b.Context(), stub, (*thing).Touch))
				}
			}
			view, err := New(rt, Options{})
			require.NoError(b, err)
			for b.Loop() {
				view.live.at = time.Time{}
				body, err := view.now(b.Context())
				require.NoError(b, err)
				require.NotEmpty(b, body)
			}
		})
	}
}
