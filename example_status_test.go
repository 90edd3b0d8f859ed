package dog_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/godurable/dog"
)

// Vault is an object whose method refuses some callers.
type Vault struct{ dog.Object }

func (v *Vault) Open(_ context.Context, code string) (string, error) {
	if code != "1234" {
		return "", &dog.StatusError{
			Status: http.StatusForbidden, Text: "wrong code", Err: errors.New("somebody guesses"),
		}
	}
	return "gold", nil
}

// WriteError answers with the status and the text of a StatusError. The client
// does not see its Err.
func ExampleStatusError() {
	rt, err := dog.New(dog.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(context.Background())
	vaults, err := dog.RegisterObject[Vault](rt, "vault", nil)
	if err != nil {
		log.Fatal(err)
	}
	handler := func(w http.ResponseWriter, req *http.Request) {
		content, err := dog.Call(req.Context(), vaults.Named("main"), (*Vault).Open, req.FormValue("code"))
		if err != nil {
			dog.WriteError(w, err)
			return
		}
		fmt.Fprintln(w, content)
	}
	for _, path := range []string{"/?code=1111", "/?code=1234"} {
		answer := httptest.NewRecorder()
		handler(answer, httptest.NewRequest(http.MethodGet, path, nil))
		fmt.Print(answer.Code, " ", answer.Body)
	}
	// Output:
	// 403 wrong code
	// 200 gold
}
