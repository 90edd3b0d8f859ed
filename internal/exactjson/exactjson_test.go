package exactjson_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/godurable/dog/internal/exactjson"
)

type named string

// A raw has its bytes as its text, a shouted something else.
type (
	raw     [2]byte
	shouted string
)

func (r raw) MarshalText() ([]byte, error) { return r[:], nil }

func (shouted) MarshalText() ([]byte, error) { return []byte("!"), nil }

// These decode themselves, and keep what they want.
type (
	ownSlice []any
	ownArray [1]any
	ownMap   map[string]any
)

func (o *ownSlice) UnmarshalJSON([]byte) error {
	*o = ownSlice{json.Number("9007199254740993")}
	return nil
}
func (o *ownArray) UnmarshalJSON([]byte) error {
	*o = ownArray{json.Number("9007199254740993")}
	return nil
}
func (o *ownMap) UnmarshalJSON([]byte) error {
	*o = ownMap{"a": json.Number("9007199254740993")}
	return nil
}

func TestUnmarshal_LeavesUnmarshalersAlone(t *testing.T) {
	type all struct {
		Slice  ownSlice
		Array  ownArray
		Map    ownMap
		Slices []ownSlice
		Maps   map[string]*ownArray
	}
	data := []byte(`{"Slice":[9007199254740993],"Array":[1],"Map":{},"Slices":[[1]],"Maps":{"a":[1]}}`)
	var want, got all
	require.NoError(t, json.Unmarshal(data, &want))
	require.NoError(t, exactjson.Unmarshal(data, &got))
	require.Equal(t, want, got)
}

type inner struct {
	Any    any
	Number json.Number
	Int    int64
	hidden string
}

type outer struct {
	inner
	List []inner
	Map  map[string]any
	Of   map[string][]inner
	Next *outer
	Raw  json.RawMessage `json:",omitempty"`
}

func TestMarshal_RefusesInvalidStrings(t *testing.T) {
	const bad = "a\xff"
	for name, v := range map[string]any{
		"string":                    bad,
		"type":                      named(bad),
		"pointer":                   &[]string{bad}[0],
		"slice":                     []string{"a", bad},
		"array":                     [1]any{bad},
		"map value":                 map[string]any{"a": bad},
		"map key":                   map[string]int{bad: 1},
		"field":                     inner{Any: bad},
		"embedded field":            outer{inner: inner{Any: bad}},
		"deep":                      outer{Next: &outer{List: []inner{{Any: map[string]any{"x": []any{bad}}}}}},
		"text":                      raw{'a', 0xff},
		"text by key":               map[raw]int{{'a', 0xff}: 1},
		"text by field":             []any{&inner{Any: &raw{'a', 0xff}}},
		"key that is invalid UTF-8": map[shouted]int{bad: 1},
		"beside another":            []any{"\ufffd", json.RawMessage(`"\ufffd"`), bad},
	} {
		_, err := exactjson.Marshal(v)
		require.ErrorIs(t, err, exactjson.ErrUTF8, name)
		require.ErrorContains(t, err, `a\xff`, name)
	}
}

func TestMarshal_EncodesStringsThatJSONKeeps(t *testing.T) {
	for _, v := range []any{
		"\ufffd", `\ufffd`, `\\ufffd`, "a\x00b", nil, []byte("\xff"), json.RawMessage(`"\ufffd"`),
		[]any{shouted("\xff"), `\ufffd`, (*raw)(nil), raw{'a', 'b'}},
		inner{hidden: "\xff", Any: `\ufffd`}, outer{Raw: json.RawMessage(`{"a":"\ufffd"}`)},
	} {
		want, err := json.Marshal(v)
		require.NoError(t, err)
		got, err := exactjson.Marshal(v)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := exactjson.Marshal(make(chan int))
	require.Error(t, err)
}

func TestUnmarshal_RefusesIntegersThatWouldBeRounded(t *testing.T) {
	for _, data := range []string{
		`{"Any":9007199254740993}`,
		`{"Any":[1,{"a":-9007199254740993}]}`,
		`{"List":[{"Any":9223372036854775807}]}`,
		`{"Map":{"a":{"b":[18446744073709551615]}}}`,
		`{"Of":{"a":[{"Any":100000000000000000000001}]}}`,
		`{"Next":{"Next":{"Any":9007199254740993}}}`,
	} {
		require.ErrorIs(t, exactjson.Unmarshal([]byte(data), new(outer)), exactjson.ErrRounded, data)
		require.ErrorIs(t, exactjson.Unmarshal([]byte(data), new(any)), exactjson.ErrRounded, data)
	}
}

func TestUnmarshal_ReadsExactNumbersLikeJSON(t *testing.T) {
	for _, data := range []string{
		`{"Any":9007199254740992,"Number":9007199254740993,"Int":9223372036854775807}`,
		`{"Any":1234567890123456e1,"List":[{"Any":0.12345678901234567}]}`,
		`{"Map":{"a":1152921504606846976,"text":"9007199254740993"},"Raw":9007199254740993}`,
		`{"Any":[-9007199254740992,9223372036854776000],"Of":{"a":[{"Number":"9007199254740993"}]}}`,
	} {
		var want, got outer
		require.NoError(t, json.Unmarshal([]byte(data), &want))
		require.NoError(t, exactjson.Unmarshal([]byte(data), &got), data)
		require.Equal(t, want, got)
	}
	for _, data := range []string{`9007199254740993 1`, `{"Any":9007199254740993`, `[1e999,1234567890123456]`, `"`} {
		var want, got any
		require.Error(t, json.Unmarshal([]byte(data), &want), data)
		require.Error(t, exactjson.Unmarshal([]byte(data), &got), data)
	}
}

func TestMarshal_ReadsCyclicValuesOnce(t *testing.T) {
	var v outer
	v.Next = &v
	require.NoError(t, exactjson.Unmarshal([]byte(`{"Int":9007199254740993}`), &v))
	require.EqualValues(t, 9007199254740993, v.Int)
}

func TestMarshal_RoundTripsOrRefusesAnyValue(t *testing.T) {
	leaf := rapid.OneOf(
		rapid.Custom(func(t *rapid.T) any { return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) }),
		rapid.Custom(func(t *rapid.T) any { return rapid.String().Draw(t, "text") }),
		rapid.Custom(func(t *rapid.T) any { return rapid.Float64Range(-1e18, 1e18).Draw(t, "float") }),
		rapid.Custom(func(t *rapid.T) any { return float64(rapid.Int64().Draw(t, "int")) }),
	)
	rapid.Check(t, func(t *rapid.T) {
		var v any = map[string]any{"list": rapid.SliceOf(leaf).Draw(t, "list"), "one": leaf.Draw(t, "one")}
		if list := v.(map[string]any)["list"]; reflect.ValueOf(list).IsNil() {
			v.(map[string]any)["list"] = []any{}
		}
		data, err := exactjson.Marshal(v)
		if err != nil {
			require.ErrorIs(t, err, exactjson.ErrUTF8)
			return
		}
		var back any
		require.NoError(t, exactjson.Unmarshal(data, &back))
		require.Equal(t, v, back)
	})
}
