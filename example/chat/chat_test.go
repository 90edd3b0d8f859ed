package main

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// open opens a chat room with two places per replica.
func open(t *testing.T) *dogtest.Server {
	t.Helper()
	handler, err := newServer(dogtest.New(t, dog.Options{}), 2)
	require.NoError(t, err)
	return dogtest.Serve(t, handler)
}

// enter connects a user and waits until everybody has heard of it.
func enter(srv *dogtest.Server, user string) *dogtest.Client {
	c := srv.Dial("/ws?u=" + user)
	synctest.Wait()
	return c
}

// told returns what a client was told since the last time, without the times, which are checked.
func told(t *testing.T, c *dogtest.Client) []map[string]any {
	t.Helper()
	synctest.Wait()
	var all []map[string]any
	for _, m := range c.Received() {
		var fields map[string]any
		require.NoError(t, m.Decode(&fields))
		if strings.HasPrefix(fields["type"].(string), "user:") {
			require.Positive(t, fields["time"])
			delete(fields, "time")
		}
		all = append(all, fields)
	}
	return all
}

type fields = map[string]any

func TestTheProtocolOfTheOriginal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := open(t)
		ada := enter(srv, "ada")
		bob := enter(srv, "bob")
		cyd := enter(srv, "cyd") // on a second replica
		require.Equal(t, []fields{
			{"type": "user:join", "from": "ada"}, {"type": "user:join", "from": "bob"}, {"type": "user:join", "from": "cyd"},
		}, told(t, ada))
		told(t, bob)
		told(t, cyd)

		everyone := []*dogtest.Client{ada, bob, cyd}
		for _, test := range []struct {
			name string
			sent string
			want map[*dogtest.Client][]fields
		}{
			{"connected", `{"type":"req:connected"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:connected", "from": "ada"}},
				bob: {{"type": "user:connected", "from": "ada"}},
				cyd: {{"type": "user:connected", "from": "ada"}},
			}},
			{"list", `{"type":"req:user:list"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:list", "list": []any{"ada", "bob", "cyd"}}},
			}},
			{"to all", `{"type":"msg","text":"  hello  "}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:msg", "from": "ada", "text": "hello"}},
				bob: {{"type": "user:msg", "from": "ada", "text": "hello"}},
				cyd: {{"type": "user:msg", "from": "ada", "text": "hello"}},
			}},
			{"to all, said so", `{"type":"msg","text":"/all hello"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:msg", "from": "ada", "text": "hello"}},
				bob: {{"type": "user:msg", "from": "ada", "text": "hello"}},
				cyd: {{"type": "user:msg", "from": "ada", "text": "hello"}},
			}},
			{"to the own room", `{"type":"msg","text":"/g  psst all"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:msg", "from": "ada", "text": "psst all", "meta": "group"}},
				bob: {{"type": "user:msg", "from": "ada", "text": "psst all", "meta": "group"}},
			}},
			{"to one", `{"type":"msg","text":"/w cyd only you"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:msg", "from": "ada", "text": "only you", "meta": "whisper", "to": "cyd"}},
				cyd: {{"type": "user:msg", "from": "ada", "text": "only you", "meta": "whisper", "to": "cyd"}},
			}},
			{"to nobody", `{"type":"msg","text":"/msg zoe anyone?"}`, map[*dogtest.Client][]fields{
				ada: {
					{"type": "user:msg", "from": "ada", "text": "anyone?", "meta": "whisper", "to": "zoe"},
					{"type": "user:offline", "to": "zoe"},
				},
			}},
			{"to oneself", `{"type":"msg","text":"/w ada note"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "user:msg", "from": "ada", "text": "note", "meta": "whisper", "to": "ada"}},
			}},
			{"anything else", `{"type":"wave","count":12345678901234567890}`, map[*dogtest.Client][]fields{
				ada: {{"type": "wave", "count": 12345678901234567890.0, "uid": "ada"}},
				bob: {{"type": "wave", "count": 12345678901234567890.0, "uid": "ada"}},
				cyd: {{"type": "wave", "count": 12345678901234567890.0, "uid": "ada"}},
			}},
			{"anything else with uid", `{"type":"wave","uid":"me"}`, map[*dogtest.Client][]fields{
				ada: {{"type": "wave", "uid": "me"}}, bob: {{"type": "wave", "uid": "me"}}, cyd: {{"type": "wave", "uid": "me"}},
			}},
			{"no text", `{"type":"msg","text":"   "}`, nil},
			{"no JSON", `hello?`, nil},
			{"no object", `[1,2]`, nil},
			{"null", `null`, nil},
		} {
			ada.Send(test.sent)
			for i, c := range everyone {
				got := told(t, c)
				for _, f := range got {
					delete(f, "time")
				}
				require.Equal(t, test.want[c], got, "%s: client %d", test.name, i)
			}
		}
		cyd.Close(1000, "")
		require.Equal(t, []fields{{"type": "user:exit", "from": "cyd"}}, told(t, ada))
	})
}

func TestThePictureOfTheReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := open(t)
		ada := enter(srv, "ada")
		enter(srv, "bob")
		enter(srv, "cyd")
		told(t, ada)
		ada.Send(`{"type":"req:replicas"}`)
		var list replicaList
		ada.ReceiveJSON(&list)
		require.Equal(t, "replicas", list.Type)
		require.Equal(t, 2, list.Limit)
		users := make(map[string]bool)
		for _, room := range list.List {
			users[strings.Join(room.Users, "+")] = room.ID == list.Self
			require.Len(t, room.Users, room.Sockets)
		}
		require.Equal(t, map[string]bool{"ada+bob": true, "cyd": false}, users)
	})
}

func TestTheHTTPRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := open(t)
		ada := enter(srv, "ada")
		bob := enter(srv, "bob")
		cyd := enter(srv, "cyd")
		clients := map[string]*dogtest.Client{"ada": ada, "bob": bob, "cyd": cyd}
		for _, c := range clients {
			told(t, c)
		}
		for _, test := range []struct {
			path   string
			answer string
			heard  []string
			want   fields
		}{
			{"/broadcast?u=cyd", "DONE", []string{"ada", "bob", "cyd"},
				fields{"type": "user:msg", "from": "HTTP", "text": `SENT VIA "/broadcast" HTTP route`}},
			{"/emit?u=cyd", "DONE", []string{"cyd"},
				fields{"type": "user:msg", "from": "HTTP", "text": `SENT VIA "/emit" HTTP route`, "meta": "group"}},
			{"/whisper?u=cyd&target=ada", "DONE", []string{"ada"},
				fields{"type": "user:msg", "from": "HTTP", "text": `SENT VIA "/whisper" HTTP route`, "meta": "whisper", "to": "ada"}},
			{"/whisper?u=cyd&target=zoe", "DONE", nil, nil},
			{"/the/path", `PATH: "/the/path"`, nil, nil},
			{"//double//slash", `PATH: "//double//slash"`, nil, nil},
		} {
			status, body := srv.Get(test.path)
			require.Equal(t, http.StatusOK, status, test.path)
			require.Equal(t, test.answer, body)
			var heard []string
			for _, name := range slices.Sorted(maps.Keys(clients)) {
				if got := told(t, clients[name]); got != nil {
					require.Equal(t, []fields{test.want}, got, test.path)
					heard = append(heard, name)
				}
			}
			require.Equal(t, test.heard, heard, test.path)
		}
	})
}

func TestWhatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := open(t)
		for _, test := range []struct {
			method, path string
			status       int
		}{
			{"POST", "/", 405},
			{"DELETE", "/broadcast", 405},
			{"HEAD", "/", 200},
			{"GET", "/ws", 426},
			{"GET", "/x?u=" + strings.Repeat("x", 1025), 400},
			{"GET", "/x?u=a%0Ab", 400},
		} {
			req, err := http.NewRequest(test.method, dogtest.URL+test.path, nil)
			require.NoError(t, err)
			answer, err := srv.Client().Do(req)
			require.NoError(t, err)
			require.NoError(t, answer.Body.Close())
			require.Equal(t, test.status, answer.StatusCode, "%s %s", test.method, test.path)
		}
		status, body := srv.Get("/")
		require.Equal(t, 200, status)
		require.Contains(t, body, "<!doctype html>")
	})
}

func FuzzParseText(f *testing.F) {
	for _, seed := range []string{"", "hello", "/g hello", "/w bob hi", "/w", "/msg bob", "/all  x ", "/unknown x", " /g\tx"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, typed string) {
		to, user, text := parseText(typed)
		require.Equal(t, strings.TrimSpace(text), text)
		require.False(t, strings.ContainsAny(user, " \t\r\n"))
		require.True(t, to == oneUser || user == "")
		require.Contains(t, typed, text)
	})
}

func FuzzClientMessages(f *testing.F) {
	for _, seed := range []string{`{"type":"msg","text":"x"}`, `{"type":1}`, `{"uid":null}`, `{}`, `"`, `{"type":"msg","text":{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			srv := open(t)
			ada := enter(srv, "ada")
			told(t, ada)
			ada.Send(data)
			synctest.Wait()
			for _, m := range ada.Received() {
				require.True(t, json.Valid(m.Data))
			}
			ada.Send(`{"type":"req:user:list"}`)
			var list userList
			ada.ReceiveJSON(&list)
			require.Equal(t, []string{"ada"}, list.List)
		})
	})
}
