package process

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecode_KeepsOutputFromBeforeAFailure(t *testing.T) {
	got, err := Decode[int](exec.Command("sh", "-c", "echo 1; echo 2; echo why >&2; echo at last >&2; exit 3"))
	require.Equal(t, []int{1, 2}, got)
	require.ErrorContains(t, err, "exit status 3: at last")

	got, err = Decode[int](exec.Command("sh", "-c", "echo 1; echo x"))
	require.Equal(t, []int{1}, got)
	require.Error(t, err)

	got, err = Decode[int](exec.Command("sh", "-c", "echo 1"))
	require.Equal(t, []int{1}, got)
	require.NoError(t, err)
}
