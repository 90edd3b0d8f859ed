package dogtest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// account is the object under test: its balance is what was paid in.
type account struct{ dog.Object }

// Receive pays in the amount in the body, and answers with the balance.
func (a *account) Receive(w http.ResponseWriter, req *http.Request) error {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return err
	}
	amount, _ := strconv.Atoi(string(body))
	balance, err := a.pay(amount)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, strconv.Itoa(balance))
	return err
}

func (a *account) pay(amount int) (balance int, err error) {
	if amount == 0 {
		balance, _, err = dog.Get[int](a.Storage(), "balance")
		return balance, err
	}
	return dog.Update(a.Storage(), "balance", func(now int) (int, error) { return now + amount, nil })
}

func newAccounts(t *testing.T, store dog.Store) *dog.Namespace[account] {
	t.Helper()
	accounts, err := dog.RegisterObject[account](dogtest.New(t, dog.Options{Store: store}), "account", nil)
	require.NoError(t, err)
	return accounts
}

// post sends a body to a handler, and returns the answer's status and body.
func post(t *testing.T, handler http.Handler, body string) (status int, answer string) {
	t.Helper()
	return dogtest.Serve(t, handler).Post("/", body)
}

func TestDisk_KeepsAcknowledgedWritesAfterACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		for crashes := range 3 {
			ada := newAccounts(t, disk).Named("ada")
			status, balance := post(t, ada, "5")
			require.Equal(t, http.StatusOK, status)
			require.Equal(t, strconv.Itoa(5*(crashes+1)), balance)
			disk.Crash()
			status, _ = post(t, ada, "5")
			require.Equal(t, http.StatusServiceUnavailable, status, "the runtime is cut off")
		}
	})
}

func TestDisk_LosesOnlyUnacknowledgedWritesInACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		ada := newAccounts(t, disk).Named("ada")
		out := dogtest.Run(t, ada, func(_ context.Context, a *account) error {
			_, err := a.pay(5)
			return err
		})
		require.NoError(t, out.Err)
		out = dogtest.Run(t, ada, func(_ context.Context, a *account) error {
			if _, err := a.pay(2); err != nil {
				return err
			}
			disk.Crash()
			return nil
		})
		require.ErrorIs(t, out.Err, dog.ErrStoreFailed)

		_, balance := post(t, newAccounts(t, disk).Named("ada"), "")
		require.Equal(t, "5", balance)
	})
}

func TestDisk_FailedWriteStopsTheStoreUntilReopened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		ada := newAccounts(t, disk).Named("ada")
		_, balance := post(t, ada, "5")
		require.Equal(t, "5", balance)

		before := disk.Changes()
		disk.Fail(1, errors.New("the disk has a scratch"))
		status, _ := post(t, ada, "2")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Greater(t, disk.Changes(), before)
		synctest.Wait() // the object is reset, and who comes before that gets a 503, too
		status, balance = post(t, ada, "")
		require.Equal(t, http.StatusOK, status, "reading goes on")
		require.Equal(t, "5", balance, "of what is durable")

		disk.Crash()
		_, balance = post(t, newAccounts(t, disk).Named("ada"), "1")
		require.Equal(t, "6", balance)
	})
}

func TestDisk_RefusesWritesWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		ada := newAccounts(t, disk).Named("ada")
		post(t, ada, "5")
		disk.Fill()
		time.Sleep(2 * time.Second)
		status, _ := post(t, ada, "2")
		require.Equal(t, http.StatusServiceUnavailable, status)
		status, balance := post(t, ada, "")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "5", balance)

		disk.Free()
		time.Sleep(2 * time.Second)
		_, balance = post(t, ada, "2")
		require.Equal(t, "7", balance)
	})
}

func TestDisk_KeepsAcknowledgedWritesAfterATornCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		for seed := range uint64(20) {
			ada := newAccounts(t, disk).Named("ada")
			_, balance := post(t, ada, "1")
			require.Equal(t, strconv.FormatUint(seed+1, 10), balance)
			disk.CrashTorn(seed)
		}
	})
}

func TestDisk_IsUsedByOneRuntimeAtATime(t *testing.T) {
	disk := dogtest.NewDisk(t)
	newAccounts(t, disk)
	_, err := dog.New(dog.Options{Store: disk})
	require.ErrorIs(t, err, dog.ErrStoreLocked)
}
