package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
	"github.com/godurable/dog/dogtest"
)

// library is the program of a release on a disk.
func library(t *testing.T, disk *dogtest.Disk, steps dog.Schema) (*dog.Runtime, *dogtest.Server) {
	t.Helper()
	rt := dogtest.New(t, dog.Options{Store: disk})
	handler, err := newServer(rt, steps)
	require.NoError(t, err)
	return rt, dogtest.Serve(t, handler)
}

// next returns the next change of a kind that a client receives.
func next(c *dogtest.Client, op string) (received change) {
	for received.Op != op {
		received = change{}
		c.ReceiveJSON(&received)
	}
	return received
}

func TestDocument_MergesConcurrentEdits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, srv := library(t, dogtest.NewDisk(t), schema)
		ada := srv.Dial("/readme/open?writer=ada")
		require.Empty(t, next(ada, "document").Paragraphs)
		bob := srv.Dial("/readme/open?writer=bob")
		require.Equal(t, []string{"ada", "bob"}, next(bob, "people").People)

		ada.Send(change{Op: "insert", Paragraph: Paragraph{Text: "first"}})
		first := next(bob, "insert").Paragraph
		require.Equal(t, Paragraph{ID: first.ID, Text: "first", Author: "ada"}, first)
		require.Equal(t, first, next(ada, "insert").Paragraph, "the author gets it too")
		bob.Send(change{Op: "insert", After: first.ID, Paragraph: Paragraph{Text: "third", Author: "somebody else"}})
		third := next(ada, "insert").Paragraph
		require.Equal(t, "bob", third.Author)
		bob.Send(change{Op: "insert", After: first.ID, Paragraph: Paragraph{Text: "second"}})
		next(ada, "insert")
		bob.Send(change{Op: "write", Paragraph: Paragraph{ID: third.ID, Text: "the end"}})
		require.Equal(t, "the end", next(ada, "write").Paragraph.Text)
		ada.Send(change{Op: "remove", Paragraph: Paragraph{ID: first.ID}})
		require.Equal(t, first.ID, next(bob, "remove").Paragraph.ID)

		eve := srv.Dial("/readme/open?writer=eve")
		require.Len(t, next(eve, "document").Paragraphs, 2)
		for asked, why := range map[string]string{
			`{"op":"write","paragraph":{"id":` + "1" + `,"text":"gone"}}`: "no such paragraph",
			`{"op":"burn"}`: "no such paragraph",
			`{"op":"insert","paragraph":{"text":""}}`:                                    "1 to 10,000",
			`{"op":"insert","paragraph":{"text":"` + strings.Repeat("x", 10_001) + `"}}`: "1 to 10,000",
			`not JSON`: "not JSON",
		} {
			eve.Send(asked)
			require.Contains(t, next(eve, "refused").Why, why)
		}
		bob.Close(1000, "")
		for len(next(ada, "people").People) != 2 {
		}
		status, text := srv.Get("/readme/text")
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "second\n\nthe end\n\n", text)
		_, text = srv.Get("/other/text")
		require.Empty(t, text, "each document is its own")
	})
}

func TestDocument_HibernatesWhileOpenAndSurvivesACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		rt, srv := library(t, disk, schema)
		ada := srv.Dial("/readme/open?writer=ada")
		ada.Send(change{Op: "insert", Paragraph: Paragraph{Text: "kept"}})
		next(ada, "insert")
		time.Sleep(time.Hour)
		for document := range rt.Objects() {
			require.True(t, document.Hibernated)
			require.Equal(t, 1, document.Sockets)
		}
		ada.Send("ping")
		require.Equal(t, "pong", ada.Receive().String())
		ada.Send(change{Op: "insert", Paragraph: Paragraph{Text: "woken"}})
		next(ada, "insert")

		disk.Crash()
		_, srv = library(t, disk, schema)
		_, text := srv.Get("/readme/text")
		require.Equal(t, "woken\n\nkept\n\n", text, "what a client has seen is there")
	})
}

func TestDocument_AllowsARollbackToThePreviousRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := dogtest.NewDisk(t)
		write := func(steps dog.Schema, text string) (read []Paragraph) {
			rt, srv := library(t, disk, steps)
			ada := srv.Dial("/readme/open?writer=ada")
			all := next(ada, "document").Paragraphs
			after := int64(0)
			if len(all) > 0 {
				after = all[len(all)-1].ID
			}
			ada.Send(change{Op: "insert", After: after, Paragraph: Paragraph{Text: text}})
			next(ada, "insert")
			require.NoError(t, rt.Shutdown(t.Context()))
			return all
		}
		require.Empty(t, write(schema[:1], "old"))
		require.Equal(t, []Paragraph{{ID: 1, Text: "old"}}, write(schema, "new"))
		require.Equal(t, []Paragraph{{ID: 1, Text: "old"}, {ID: 2, Text: "new"}}, write(schema[:1], "old again"))
		require.Equal(
			t, []Paragraph{{ID: 1, Text: "old"}, {ID: 2, Text: "new", Author: "ada"}, {ID: 3, Text: "old again"}},
			write(schema, "new again"),
		)
	})
}

func TestDocument_RequiresAName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, srv := library(t, dogtest.NewDisk(t), schema)
		for path, status := range map[string]int{
			"/readme/open":            http.StatusUnauthorized,
			"/readme/open?writer=+":   http.StatusUnauthorized,
			"/a%00b/text":             http.StatusBadRequest,
			"/readme/open?writer=ada": http.StatusUpgradeRequired,
			"/readme":                 http.StatusOK,
			"/":                       http.StatusOK,
		} {
			got, _ := srv.Get(path)
			require.Equal(t, status, got, path)
		}
	})
}

func TestProgram_Runs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	require.ErrorContains(t, run(t.Context(), listener.Addr().String(), t.TempDir()), "address already in use")
	ctx, stop := context.WithCancel(t.Context())
	stop()
	require.NoError(t, run(ctx, "127.0.0.1:0", t.TempDir()))
}
