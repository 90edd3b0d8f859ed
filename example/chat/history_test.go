package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/disk"
	"github.com/godurable/dog/dogtest"
)

// returning is a client that speaks dog.v1, frame by frame.
type returning struct {
	*dogtest.Client
	t        *testing.T
	gap, pos string
	acks     []string
}

// resume connects a user from a position on.
func (c *chatRoom) resume(user, after string) *returning {
	c.t.Helper()
	path := "/ws?u=" + user + "&session=session-of-" + user + "&after=" + url.QueryEscape(after)
	r := &returning{Client: c.DialWith(path, dogtest.DialOptions{Subprotocols: []string{"dog.v1"}}), t: c.t}
	var hello struct{ Pos, Gap string }
	require.NoError(c.t, json.Unmarshal(r.Receive().Data[1:], &hello))
	r.pos, r.gap = hello.Pos, hello.Gap
	return r
}

// all returns the messages that have arrived, except pictures of who is where.
func (r *returning) all() (all []anything) {
	r.t.Helper()
	synctest.Wait()
	epoch, _, _ := strings.Cut(r.pos, "-")
	for _, m := range r.Received() {
		header, payload, _ := strings.Cut(m.String(), "\n")
		if header[0] == 'a' {
			r.acks = append(r.acks, header[1:])
			continue
		}
		require.Equal(r.t, byte('m'), header[0], header)
		if header != "m" {
			r.pos = epoch + "-" + header[1:]
		}
		var got anything
		require.NoError(r.t, json.Unmarshal([]byte(payload), &got))
		if got.Type != "replicas" {
			all = append(all, got)
		}
	}
	return all
}

// short returns messages in a short form, without news of people.
func short(all []anything) (texts []string) {
	for _, m := range all {
		switch {
		case m.Type == "presence":
		case m.Type == "history" && m.Lines == nil:
			texts = append(texts, "nothing more")
		case m.Type == "history":
			for _, line := range m.Lines {
				texts = append(texts, "log: "+line.Text)
			}
			texts = append(texts, "end of the log")
		default:
			texts = append(texts, strings.TrimSpace(m.Type+" "+m.Meta)+": "+m.Text)
		}
	}
	return texts
}

func TestHistory_HasWhatAClientHasMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada := c.resume("ada", "")
		require.Equal(t, "first", ada.gap)
		bob, _ := c.enter("bob") // in the room of ada
		cyd, _ := c.enter("cyd") // in another one
		post(t, bob, "seen")
		require.Equal(t, []string{"end of the log", "msg: seen"}, short(ada.all()))

		ada.Vanish()
		time.Sleep(keep / 2)
		for n := range 5 {
			author := []*dogtest.Client{bob, cyd}[n%2]
			received(t, author)
			post(t, author, fmt.Sprint("missed ", n))
		}
		cyd.Send(message{Type: "msg", Meta: "whisper", To: "ada", Line: Line{Text: "to you", Key: "w"}})
		require.Equal(t, "away", next[message](t, cyd, "away").Type)
		cyd.Send(message{Type: "msg", Meta: "whisper", To: "bob", Line: Line{Text: "to bob", Key: "w2"}})
		bob.Send(message{Type: "msg", Meta: "group", Line: Line{Text: "to the room", Key: "g"}})
		synctest.Wait()
		missed := []string{
			"msg: missed 0", "msg: missed 1", "msg: missed 2", "msg: missed 3", "msg: missed 4", "msg whisper: to you",
		}

		ada = c.resume("ada", ada.pos)
		require.Empty(t, ada.gap)
		require.Equal(t, append(missed, "nothing more"), short(ada.all()))
		received(t, cyd)
		post(t, cyd, "new")
		require.Equal(t, []string{"msg: new"}, short(ada.all()))
		ada.Vanish()
		require.Equal(t, []string{"nothing more"}, short(c.resume("ada", ada.pos).all()))
	})
}

// A new client gets what is kept and the end of the log. A line in both has the
// same ID.
func TestHistory_MeetsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		bob, _ := c.enter("bob")
		fill(t, bob, 0, 6)
		time.Sleep(2 * keep)
		c.resume("cyd", "") // finds that nothing is kept
		fill(t, bob, 7, 9)
		ada := c.resume("ada", "")
		synctest.Wait()
		post(t, bob, "10")
		all := ada.all()
		require.Equal(t, []string{
			"msg: 7", "msg: 8", "msg: 9",
			"log: 0", "log: 1", "log: 2", "log: 3", "log: 4", "log: 5", "log: 6", "log: 7", "log: 8", "log: 9",
			"end of the log", "msg: 10",
		}, short(all))
		lines := make(map[int64]string)
		for _, m := range all {
			for _, line := range append(m.Lines, m.Line) {
				if line.Text != "" {
					lines[line.ID] = line.Text
				}
			}
		}
		require.Len(t, lines, 11)
	})
}

func TestHistory_GapBringsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada := c.resume("ada", "")
		bob, _ := c.enter("bob")
		post(t, bob, "seen")
		ada.all()
		ada.Vanish()
		post(t, bob, "missed")
		time.Sleep(2 * keep)
		c.resume("cyd", "") // finds that nothing is kept
		post(t, bob, "new")
		again := c.resume("ada", ada.pos)
		require.Equal(t, "expired", again.gap)
		require.Equal(t, []string{
			"msg: new", "log: seen", "log: missed", "log: new", "end of the log",
		}, short(again.all()))
	})
}

// After a planned restart, and after a crash, clients go on where they were.
func TestHistory_SurvivesARestartAndACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		c := open(t, disk)
		ada := c.resume("ada", "")
		bob, _ := c.enter("bob")
		post(t, bob, "seen")
		ada.all()
		ada.Vanish()
		post(t, bob, "missed")
		bob.Send(message{Type: "msg", Meta: "whisper", To: "ada", Line: Line{Text: "to you", Key: "w"}})
		next[message](t, bob, "away")
		require.NoError(t, c.rt.Shutdown(t.Context()))

		c = open(t, disk)
		bob, _ = c.enter("bob")
		post(t, bob, "after the restart")
		ada = c.resume("ada", ada.pos)
		require.Empty(t, ada.gap)
		require.Equal(t, []string{
			"msg: missed", "msg whisper: to you", "msg: after the restart", "nothing more",
		}, short(ada.all()))

		post(t, bob, "before the crash")
		disk.Crash()
		c = open(t, disk)
		again := c.resume("ada", ada.pos)
		require.Empty(t, again.gap)
		require.Equal(t, []string{"msg: before the crash", "nothing more"}, short(again.all()))
	})
}

// A message that a client sends again takes effect once.
func TestHistory_MessagesTakeEffectOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		ada := c.resume("ada", "")
		bob, _ := c.enter("bob")
		whisper := `{"type":"msg","meta":"whisper","to":"bob","text":"psst","key":"k"}`
		ada.Send("m1\n" + whisper)
		require.Equal(t, []string{"end of the log", "msg whisper: psst"}, short(ada.all()))
		require.Equal(t, []string{"1"}, ada.acks)
		ada.Vanish()
		ada = c.resume("ada", ada.pos)
		ada.Send("m1\n" + whisper)
		ada.Send("m2\n" + `{"type":"msg","text":"hello","key":"k2"}`)
		require.Equal(t, []string{"nothing more", "msg: hello"}, short(ada.all()))
		require.Equal(t, []string{"1", "2"}, ada.acks)
		texts := []string{}
		for _, m := range received(t, bob) {
			if m["type"] == "msg" {
				texts = append(texts, m["text"].(string))
			}
		}
		require.Equal(t, []string{"psst", "hello"}, texts)
	})
}

// Without a history, the log alone serves those who come back.
func TestHistory_IsOptional(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := openFor(t, disk.Memory(), 0)
		bob, _ := c.enter("bob")
		bob.Send(message{Type: "msg", Meta: "whisper", To: "ada", Line: Line{Text: "psst", Key: "w"}})
		require.False(t, next[message](t, bob, "away").Kept)
		post(t, bob, "hello")
		ada := c.resume("ada", "")
		require.Equal(t, "first", ada.gap)
		require.Equal(t, []string{"log: hello", "end of the log"}, short(ada.all()))
		status, _ := c.Get("/history?u=ada")
		require.Equal(t, 404, status)

		rt := dogtest.New(t, dog.Options{Store: disk.Memory()})
		_, err := register(rt, 2, -time.Second)
		require.ErrorContains(t, err, "negative")
	})
}

// textsOf returns the texts of the messages in a JSON array, except pictures
// and news of people.
func textsOf(t *testing.T, array string) (all []string) {
	t.Helper()
	var messages []message
	require.NoError(t, json.Unmarshal([]byte(array), &messages), array)
	for _, m := range messages {
		if m.Type != "replicas" && m.Type != "presence" {
			all = append(all, m.Text)
		}
	}
	return all
}

func TestHistory_IsReadOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, disk.Memory())
		cyd, _ := c.enter("cyd")
		cyd.Close(1000, "")
		time.Sleep(2 * grace) // until everybody knows
		bob, _ := c.enter("bob")
		get := func(query string) (offset, body string) {
			r, err := c.Client().Get(dogtest.URL + "/history?" + query)
			require.NoError(t, err)
			defer r.Body.Close()
			require.Equal(t, http.StatusOK, r.StatusCode)
			all, err := io.ReadAll(r.Body)
			require.NoError(t, err)
			return url.QueryEscape(r.Header.Get("Stream-Next-Offset")), string(all)
		}
		post(t, bob, "one")
		bob.Send(message{Type: "msg", Meta: "whisper", To: "ada", Line: Line{Text: "to ada", Key: "w"}})
		bob.Send(message{Type: "msg", Meta: "whisper", Line: Line{Text: "to nobody", Key: "w2"}})
		received(t, bob)
		offset, body := get("u=ada")
		require.Equal(t, []string{"one", "to ada"}, textsOf(t, body))
		require.Equal(t, 1, strings.Count(body, `"replicas"`), "of several pictures the newest is kept")

		var polled atomic.Value
		go func() {
			_, body := get("u=ada&live=long-poll&offset=" + offset)
			polled.Store(body)
		}()
		time.Sleep(10 * time.Second)
		require.Nil(t, polled.Load())
		post(t, bob, "two")
		synctest.Wait()
		require.Equal(t, []string{"two"}, textsOf(t, polled.Load().(string)))

		events, err := c.Client().Get(dogtest.URL + "/history?u=ada&live=sse&offset=" + offset)
		require.NoError(t, err)
		lines := bufio.NewScanner(events.Body)
		event := func() (data string) {
			for lines.Scan() && lines.Text() != "event: data" {
			}
			for lines.Scan() && lines.Text() != "" {
				if line, ok := strings.CutPrefix(lines.Text(), "data:"); ok {
					data += line
				}
			}
			return data
		}
		require.Equal(t, []string{"two"}, textsOf(t, event()))
		post(t, bob, "three")
		require.Equal(t, []string{"three"}, textsOf(t, event()))
		require.NoError(t, events.Body.Close())

		// Whispers are for those to whom they are sent, and for their authors.
		for user, want := range map[string][]string{
			"ada": {"one", "to ada", "two", "three"},
			"bob": {"one", "to ada", "to nobody", "two", "three"}, // with the news that there is nobody
			"cyd": {"one", "two", "three"},
		} {
			_, body = get("u=" + user)
			require.Equal(t, want, textsOf(t, body), user)
		}
		for _, refused := range []string{"/history", "/history?u=", "/history?u=a%20b", "/history?u=ada&offset=x"} {
			status, _ := c.Get(refused)
			require.Equal(t, 400, status, refused)
		}
	})
}
