package observe_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

type gatewayRoom struct{ dog.Replica }

type gateway struct{ dog.Group }

func (*gateway) Identify(r *http.Request) (string, error) {
	if r.FormValue("u") == "" {
		return "", &dog.StatusError{Status: http.StatusUnauthorized}
	}
	return "", errors.New("the database is down")
}

// A gateway that fails answers 403, and yet counts as a failure, not as a
// client without the right. So do requests for a history, by their reason.
func TestTotals_FailuresOfAGatewayAreFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := dogtest.New(t, dog.Options{})
		rooms, err := dog.RegisterReplica[gatewayRoom](rt, "room", nil)
		require.NoError(t, err)
		groups, err := dog.RegisterGroup(rt, "gateway", rooms, &dog.GroupOptions[gateway]{Limit: 2})
		require.NoError(t, err)
		s := dogtest.Serve(t, groups.Named("a"))
		s.Get("/")
		s.Get("/?u=ada")
		n := totalsOf(t, rt, "gateway")
		require.Equal(t, map[int]uint64{401: 1, 403: 1}, n.Refused)
		require.Equal(t, map[dog.RefusalReason]uint64{dog.RefusedUnauthorized: 1, dog.RefusedFailed: 1}, n.RefusedFor)

		dogtest.Serve(t, groups.Named("a").History()).Get("/")
		require.EqualValues(t, 1, totalsOf(t, rt, "gateway").Refused[404])
	})
}
