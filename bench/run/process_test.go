package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPlan_SkipsRowsThatCannotBeServed(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
		return path
	}
	libraries := binaries{server: script("server", "echo raw dog")}
	for name, c := range map[string]struct {
		original string
		reason   string // "": the row is measured
	}{
		"serves":  {script("serves", `[ "$1" = --check ] && echo npm dog 1.1.3`), ""},
		"refuses": {script("refuses", "echo Node is not installed >&2; exit 1"), "Node is not installed"},
		"missing": {filepath.Join(dir, "missing"), "no such file"},
	} {
		o := options{libs: []string{"dog", originalRow}, original: c.original}
		rows, notes, err := o.plan(libraries)
		require.NoError(t, err, name)
		if c.reason == "" {
			require.Len(t, rows, 2, name)
			require.Equal(
				t, row{name: originalRow, program: c.original, never: []string{"rooms"}, version: "npm dog 1.1.3"},
				rows[1], name,
			)
			require.Empty(t, notes, name)
			continue
		}
		require.Len(t, rows, 1, name)
		require.Len(t, notes, 1, name)
		require.Contains(t, notes[0], c.reason, name)
	}
	_, _, err := options{libs: []string{"no such"}}.plan(libraries)
	require.ErrorContains(t, err, "no such")
}

func TestPlan_ChecksTheOriginalOnlyIfSelected(t *testing.T) {
	dir := t.TempDir()
	server, original := filepath.Join(dir, "server"), filepath.Join(dir, "original")
	require.NoError(t, os.WriteFile(server, []byte("#!/bin/sh\necho dog"), 0o755))
	require.NoError(t, os.WriteFile(original, []byte("#!/bin/sh\ntouch \"$0.asked\""), 0o755))
	_, _, err := options{libs: []string{"dog"}, original: original}.plan(binaries{server: server})
	require.NoError(t, err)
	require.NoFileExists(t, original+".asked")
	_, _, err = options{original: original}.plan(binaries{server: server})
	require.NoError(t, err)
	require.FileExists(t, original+".asked")
}

func TestPlan_MeasuresRowsWithAHistoryIfTheyAreNamed(t *testing.T) {
	server := filepath.Join(t.TempDir(), "server")
	require.NoError(t, os.WriteFile(server, []byte("#!/bin/sh\necho dog"), 0o755))
	storm, slow := job{cells: []string{"storm-100x50"}}, job{cells: []string{"slow-256@10"}}
	for name, c := range map[string]struct {
		options options
		want    bool
	}{
		"by default": {options{}, false},
		"quick":      {options{quick: true}, true},
		"named":      {options{libs: []string{"dog-v1"}}, true},
	} {
		rows, _, err := c.options.plan(binaries{server: server})
		require.NoError(t, err, name)
		found := false
		for _, r := range rows {
			found = found || r.name == "dog-v1"
			require.Equal(t, r.name == "dog-v1" || r.name == "centrifuge-history", r.does(storm), r.name)
			require.False(t, r.name == "dog-v1" && r.does(slow))
		}
		require.Equal(t, c.want, found, name)
	}
}
