package figures

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpread(t *testing.T) {
	require.Equal(t, Spread{}, SpreadOf(nil))
	require.Equal(t, Spread{Median: 3, Low: 1, High: 9, N: 3}, SpreadOf(map[int]float64{0: 9, 1: 1, 5: 3}))
	require.Equal(t, Spread{Median: 2.5, Low: 1, High: 4, N: 4}, SpreadOf(map[int]float64{0: 4, 1: 1, 2: 3, 3: 2}))
}

func TestFormat(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "0.05": 0.05, "1.23": 1.2345, "12.3": 12.345, "123": 123.4, "1234": 1234.5, "12k": 12345,
		"123k":  123456,
		"1.23M": 1234567,
	} {
		require.Equal(t, want, Format(v))
	}
	require.Equal(t, "1,019,500", Thousands(1_019_500))
	require.Equal(t, "–", Spread{}.String())
	require.Equal(t, "2.00", Spread{Median: 2, Low: 2, High: 2, N: 1}.String())
	require.Equal(t, "2.00 (1.00…3.00)", Spread{Median: 2, Low: 1, High: 3, N: 3}.String())
}

func TestDivide_UsesOnlyRoundsOfBoth(t *testing.T) {
	require.Equal(
		t, map[int]float64{1: 2}, Divide(map[int]float64{0: 1, 1: 6, 2: 5}, map[int]float64{1: 3, 2: 0, 3: 1}),
	)
}
