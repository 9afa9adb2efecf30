package publish_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/feed"
	"vault-plugin-secrets-enterprise-pki/edge/publish"
	"vault-plugin-secrets-enterprise-pki/test/wait"
)

func toFile(path string, what ...string) feed.Publisher {
	return feed.Publisher{Name: "files", Version: 1, Type: "file", Publish: what, Path: path}
}

func TestFilesArriveAndStay(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	first := map[string][]byte{"complete": ca.list(t, 5, 1), "delta": ca.list(t, 6, 0), "8-3": ca.list(t, 7, 2)}
	all := toFile(dir+"/pki/{{issuer_name}}/{{list}}", "complete", "delta", "shards", "certificate")
	m.set(ca, first, all)
	service := run(t, m, nil, dir)
	for list, content := range map[string][]byte{"complete": first["complete"], "delta": first["delta"], "8-3": first["8-3"], "certificate": ca.certificate.Raw} {
		m.holds(t, "files", list, content)
		there, err := os.ReadFile(filepath.Join(dir, "pki", "servers", list))
		require.NoError(t, err)
		require.Equal(t, content, there)
	}
	before, err := os.Stat(filepath.Join(dir, "pki", "servers", "delta"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), before.Mode().Perm(), "whoever serves it can read it")

	second := map[string][]byte{"complete": ca.list(t, 15, 3), "delta": first["delta"], "8-3": first["8-3"]}
	m.set(ca, second, all)
	m.holds(t, "files", "complete", second["complete"])
	after, err := os.Stat(filepath.Join(dir, "pki", "servers", "delta"))
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after), "what has not changed is not written again")
	states := service.States()
	require.Len(t, states, 1)
	require.Equal(t, 4, states[0].Done)
	require.Zero(t, states[0].Failing)
	var metrics strings.Builder
	service.Metrics(&metrics)
	require.Contains(t, metrics.String(), "pki_edge_publish_places{publisher=\"files\",state=\"done\"} 4\npki_edge_publish_places{publisher=\"files\",state=\"failing\"} 0\n")
	require.Regexp(t, `pki_edge_publish_verified_timestamp_seconds\{publisher="files"\} [0-9]{10}\n`, metrics.String())
}

// An edge that starts finds what is there by reading it.
func TestFilesAreNotWrittenAgainAfterARestart(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	list := ca.list(t, 5, 1)
	path := filepath.Join(dir, "list.crl")
	require.NoError(t, os.WriteFile(path, list, 0o600))
	before, err := os.Stat(path)
	require.NoError(t, err)
	m.set(ca, map[string][]byte{"complete": list}, toFile(path, "complete"))
	run(t, m, nil, dir)
	m.holds(t, "files", "complete", list)
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.True(t, os.SameFile(before, after))
}

func TestPublish2_AnOlderListNeverReplacesANewerOne(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	newer, older := ca.list(t, 9, 1), ca.list(t, 5, 0)
	path := filepath.Join(dir, "list.crl")
	require.NoError(t, os.WriteFile(path, newer, 0o600))
	m.set(ca, map[string][]byte{"complete": older}, toFile(path, "complete"))
	run(t, m, nil, dir)
	report := m.wait(t, "files", "complete", func(feed.ReportItem) bool { return true })
	require.Empty(t, report.Error)
	require.Equal(t, int64(9), report.Number, "what is there is what is reported")
	require.Equal(t, digest(newer), report.SHA256)
	there, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, newer, there)
}

// Only the CA keeps its own lists away: anybody can make up a high number.
func TestPublish2_WhatTheCAHasNotSignedIsReplaced(t *testing.T) {
	ca := newAuthority(t, "Servers")
	for name, content := range map[string][]byte{
		"another key of the same name": newAuthority(t, "Servers").list(t, 99, 0),
		"another CA":                   newAuthority(t, "Other").list(t, 99, 0),
		"no list":                      []byte("<html>hello</html>"),
		"nothing":                      {},
		"a forged number":              append(ca.list(t, 99, 0), 0),
	} {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), newMount()
			list := ca.list(t, 5, 1)
			path := filepath.Join(dir, "list.crl")
			require.NoError(t, os.WriteFile(path, content, 0o600))
			m.set(ca, map[string][]byte{"complete": list}, toFile(path, "complete"))
			run(t, m, nil, dir)
			m.holds(t, "files", "complete", list)
		})
	}
}

func TestPublish1_NoFileOutside(t *testing.T) {
	ca := newAuthority(t, "../servers")
	list := map[string][]byte{"complete": ca.list(t, 5, 1)}
	dir, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "way-out")))
	for path, want := range map[string]string{
		outside + "/x.crl":      "is below none of publish_directories",
		dir + "x.crl":           "is below none of publish_directories",
		dir + "/../x.crl":       `must lead to a file without ".."`,
		dir + "/a/./x.crl":      `must lead to a file without ".."`,
		dir + "/way-out/x.crl":  "escapes",
		dir + "/{{issuer}}.crl": "{{issuer}} is not known",
		dir + "/{{list":         "template without an end",
		dir + "/":               `must lead to a file without ".."`,
	} {
		t.Run(path, func(t *testing.T) {
			m := newMount()
			m.set(ca, list, toFile(path, "complete"))
			run(t, m, nil, dir)
			require.Contains(t, m.fails(t, "files", "complete"), want)
		})
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
}

func TestTwoItemsInOnePlaceAreRefused(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	m.set(ca, map[string][]byte{"complete": ca.list(t, 5, 1), "delta": ca.list(t, 6, 1)}, toFile(dir+"/{{issuer_id}}.crl", "complete", "delta"))
	run(t, m, nil, dir)
	require.Contains(t, m.fails(t, "files", "delta"), "another item has the same place")
	m.wait(t, "files", "complete", func(item feed.ReportItem) bool { return item.Error == "" })
}

func TestPublishersComeChangeAndGo(t *testing.T) {
	dir, ca, m := t.TempDir(), newAuthority(t, "Servers"), newMount()
	lists := map[string][]byte{"complete": ca.list(t, 5, 1)}
	publisher := toFile(dir+"/one.crl", "complete")
	m.set(ca, lists, publisher)
	service := run(t, m, nil, dir)
	m.holds(t, "files", "complete", lists["complete"])
	publisher.Path, publisher.Version = dir+"/two.crl", 2
	other := toFile(dir+"/other.cer", "certificate")
	other.Name = "other"
	m.set(ca, lists, publisher, other)
	m.holds(t, "other", "certificate", ca.certificate.Raw)
	wait.Until(t, "two.crl is there", func() bool { _, err := os.Stat(dir + "/two.crl"); return err == nil })
	m.set(ca, lists)
	wait.Until(t, "no publisher is left", func() bool { return len(service.States()) == 0 })
	_, err := os.Stat(dir + "/two.crl")
	require.NoError(t, err, "what was published stays")
}

func TestSchedule(t *testing.T) {
	base, ca := t.TempDir(), newAuthority(t, "Servers")
	lists := map[string][]byte{"complete": ca.list(t, 5, 1)}
	dir := filepath.Join(base, "not-yet")
	path := filepath.Join(dir, "list.crl")
	synctest.Test(t, func(t *testing.T) {
		m := newMount()
		m.set(ca, lists, toFile(path, "complete"))
		service := publish.New(publish.Config{Source: m, Reporter: m, Directories: []string{dir}, Now: time.Now, Log: hclog.NewNullLogger()})
		ctx, cancel := context.WithCancel(t.Context())
		go service.Run(ctx)
		last := func() feed.ReportItem {
			synctest.Wait()
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.reported["files 11111111-aaaa complete"]
		}
		begun := time.Now()
		var tried []time.Duration
		for range 12 { // the service's timers are the only ones: each sleep ends with a retry
			at, err := time.Parse(time.RFC3339, last().At)
			require.NoError(t, err)
			if since := at.Sub(begun.Truncate(time.Second)); len(tried) == 0 || tried[len(tried)-1] != since {
				tried = append(tried, since)
			}
			time.Sleep(time.Duration(1<<len(tried)-1)*time.Second + time.Second - time.Since(begun))
		}
		require.GreaterOrEqual(t, len(tried), 5)
		require.Equal(t, []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second, 15 * time.Second}, tried[:5], "twice as long each time")

		require.NoError(t, os.Mkdir(dir, 0o755))
		time.Sleep(5 * time.Minute)
		require.Empty(t, last().Error, "and never longer than five minutes")

		require.NoError(t, os.WriteFile(path, []byte("somebody else was here"), 0o600))
		time.Sleep(time.Hour)
		synctest.Wait()
		there, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, lists["complete"], there, "within an hour it is right again")
		cancel()
	})
}

// A reader sees one list or the other, wherever the edge was killed, and what a
// killed one leaves behind goes away.
func TestKilledWhileWriting(t *testing.T) {
	if dir := os.Getenv("PUBLISH_UNTIL_KILLED"); dir != "" {
		publishUntilKilled(t, dir)
		return
	}
	dir := t.TempDir()
	for round := range 5 {
		command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledWhileWriting$")
		command.Env = append(os.Environ(), "PUBLISH_UNTIL_KILLED="+dir)
		require.NoError(t, command.Start())
		path := filepath.Join(dir, "list.crl")
		seen := map[int]bool{}
		for len(seen) < 2+round {
			content, err := os.ReadFile(path)
			if os.IsNotExist(err) {
				continue
			}
			require.NoError(t, err)
			_, number, ok := publish.NumberOf(content)
			require.True(t, ok, "half a list: %d octets", len(content))
			seen[int(number.Int64())] = true
		}
		require.NoError(t, command.Process.Kill())
		_ = command.Wait()
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		_, _, ok := publish.NumberOf(content)
		require.True(t, ok)
	}
	left := filepath.Join(dir, ".pki-edge-0011223344556677")
	require.NoError(t, os.WriteFile(left, []byte("half"), 0o600))
	require.NoError(t, os.Chtimes(left, time.Now().Add(-2*time.Hour), time.Now().Add(-2*time.Hour)))
	ca, m := newAuthority(t, "Servers"), newMount()
	list := ca.list(t, 1, 0)
	m.set(ca, map[string][]byte{"complete": list}, toFile(dir+"/list.crl", "complete"))
	run(t, m, nil, dir)
	m.holds(t, "files", "complete", list)
	_, err := os.Stat(left)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func publishUntilKilled(t *testing.T, dir string) {
	ca, m := newAuthority(t, "Servers"), newMount()
	run(t, m, nil, dir)
	for number := int64(1); ; number++ {
		list := ca.list(t, number, 20_000)
		m.set(ca, map[string][]byte{"complete": list}, toFile(dir+"/list.crl", "complete"))
		m.holds(t, "files", "complete", list)
	}
}

func FuzzNumberOf(f *testing.F) {
	ca := newAuthority(f, "Servers")
	f.Add(ca.list(f, 5, 2))
	f.Add(ca.list(f, 1<<40, 0))
	f.Add([]byte(strings.Repeat("\x30\x80", 50)))
	f.Fuzz(func(t *testing.T, der []byte) {
		if issuer, number, ok := publish.NumberOf(der); ok && (len(issuer) == 0 || number == nil) {
			t.Fatal("a number without an issuer")
		}
	})
}
