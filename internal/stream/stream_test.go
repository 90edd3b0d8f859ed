package stream_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog/internal/stream"
)

// today has the cursor 100.
var today = time.Date(2024, time.October, 9, 0, 0, 0, 0, time.UTC).Add(2000 * time.Second)

func parse(query, lastEvent string) (stream.Query, error) {
	r := &http.Request{URL: &url.URL{RawQuery: query}, Header: make(http.Header)}
	if lastEvent != "" {
		r.Header.Set("Last-Event-ID", lastEvent)
	}
	return stream.Parse(r, today)
}

func TestParse_ReadsWhatClientsAsk(t *testing.T) {
	for query, want := range map[string]stream.Query{
		"":                              {},
		"offset=-1":                     {},
		"offset=now":                    {Now: true},
		"offset=abc":                    {After: "abc"},
		"offset=a%20b&x=y":              {After: "a b"},
		"offset=-1&live=sse":            {Mode: stream.Events},
		"live=long-poll&offset=now":     {Mode: stream.LongPoll, Now: true},
		"cursor=7&live=sse&offset=abc":  {Mode: stream.Events, After: "abc"},
		"offset=abc&offset2=&cursor=99": {After: "abc"},
	} {
		got, err := parse(query, "")
		require.NoError(t, err, query)
		require.Equal(t, want, got, query)
	}
}

func TestParse_TakesThePositionOfTheLastEvent(t *testing.T) {
	for _, query := range []string{"live=sse", "live=sse&offset=now", "live=sse&offset=-1", "live=sse&offset=old"} {
		got, err := parse(query, "last")
		require.NoError(t, err, query)
		require.Equal(t, stream.Query{Mode: stream.Events, After: "last"}, got, query)
	}
	got, err := parse("offset=now&live=long-poll", "last")
	require.NoError(t, err)
	require.Equal(t, stream.Query{Mode: stream.LongPoll, Now: true}, got, "only a browser with events sends it")
}

func TestParse_RefusesWhatIsMalformed(t *testing.T) {
	for _, query := range []string{
		"offset=", "offset=a&offset=a", "live=", "live=SSE&offset=now", "live=true&offset=now", "live=sse",
		"live=long-poll", "offset=now&live=sse&cursor=", "cursor=x", "cursor=-1",
		"cursor=1.5", "cursor=1&cursor=1", "offset=%", "a;b",
		"cursor=9007199254740993", "cursor=18446744073709551616",
	} {
		_, err := parse(query, "")
		require.ErrorIs(t, err, stream.ErrMalformed, query)
	}
}

func TestCursor_NeverGoesBack(t *testing.T) {
	for given, want := range map[string]int64{"": 100, "cursor=0": 100, "cursor=99": 100} {
		q, err := parse(given, "")
		require.NoError(t, err)
		require.Equal(t, strconv.FormatInt(want, 10), q.Cursor(today))
		require.Equal(t, strconv.FormatInt(want+1, 10), q.Cursor(today.Add(20*time.Second)))
		require.Equal(t, "0", q.Cursor(time.Unix(0, 0)))
	}
	for _, given := range []int64{100, 101, 5000} {
		q, err := parse("cursor="+strconv.FormatInt(given, 10), "")
		require.NoError(t, err)
		got, err := strconv.ParseInt(q.Cursor(today), 10, 64)
		require.NoError(t, err)
		require.Greater(t, got, given)
		require.LessOrEqual(t, got, given+180)
		require.Equal(t, strconv.FormatInt(got, 10), q.Cursor(today.Add(time.Second)))
	}
}

// FuzzParse checks that no query has an effect other than those that the
// protocol knows.
func FuzzParse(f *testing.F) {
	f.Add("offset=-1&live=sse&cursor=7", "k3f7q2ab7c2d-c118")
	f.Add("offset=now&live=long-poll", "")
	f.Add("offset=%00&offset", "\n")
	f.Fuzz(func(t *testing.T, query, lastEvent string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.RawQuery = query
		r.Header["Last-Event-Id"] = []string{lastEvent}
		q, err := stream.Parse(r, today)
		if err != nil {
			require.ErrorIs(t, err, stream.ErrMalformed)
			return
		}
		require.True(t, q.After == "" || !q.Now)
		if q.After != "" {
			require.True(t, q.After == r.URL.Query().Get("offset") || q.Mode == stream.Events && q.After == lastEvent)
		}
		n, err := strconv.ParseInt(q.Cursor(today), 10, 64)
		require.NoError(t, err)
		require.GreaterOrEqual(t, n, int64(100))
	})
}

// FuzzArray checks that what a message holds changes neither the array nor the
// event in which it is.
func FuzzArray(f *testing.F) {
	f.Add([]byte(`{"a":`+"\n1}"), true)
	f.Add([]byte("\r\n\r\nevent: control\ndata: {}"), true)
	f.Add([]byte("\xff\x00"), false)
	f.Add([]byte("] "), true)
	f.Fuzz(func(t *testing.T, payload []byte, text bool) {
		var a stream.Array
		a.Add(true, []byte("before"))
		a.Add(text, payload)
		a.Add(true, []byte("2"))
		array := a.Bytes()
		const next = "k3f7q2ab7c2d-c118"
		event := stream.AppendControl(stream.AppendData(nil, array, next), next, "7", true)
		var lines []string
		for s := bufio.NewScanner(bytes.NewReader(event)); s.Scan(); {
			require.NotContains(t, s.Text(), "\r")
			lines = append(lines, s.Text())
		}
		end := len(lines) - 6
		require.Equal(t, []string{
			"id: k3f7q2ab7c2d-c118", "", "event: control",
			`data:{"streamNextOffset":"k3f7q2ab7c2d-c118","streamCursor":"7","upToDate":true}`,
			"id: k3f7q2ab7c2d-c118", "",
		}, lines[end:])
		require.Equal(t, "event: data", lines[0])
		var data []string
		for _, line := range lines[1:end] {
			rest, found := strings.CutPrefix(line, "data:")
			require.True(t, found, line)
			data = append(data, rest)
		}
		for _, form := range [][]byte{array, []byte(strings.Join(data, "\n"))} {
			var all []any
			require.NoError(t, json.Unmarshal(form, &all))
			require.Len(t, all, 3)
			require.Equal(t, "before", all[0])
			require.Equal(t, 2.0, all[2])
			var direct any
			switch {
			case !text:
				require.Len(t, all[1], 1)
				require.Contains(t, all[1], "$base64")
			case json.Unmarshal(payload, &direct) == nil:
				require.Equal(t, direct, all[1])
			default:
				require.Equal(t, string([]rune(string(payload))), all[1])
			}
		}
	})
}

func TestArray_IsEmpty(t *testing.T) {
	var a stream.Array
	require.Equal(t, "[]", string(a.Bytes()))
}
