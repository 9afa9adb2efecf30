package crash_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/test/e2e/harness"
)

// whole has fsck look at storage, as it is when the plugin was just killed: nobody
// writes meanwhile, and nothing was put in order for the look.
func (s *site) whole(d *dice) {
	s.t.Helper()
	for {
		node := s.active()
		s.killPlugin(node, d)
		report, err := fsck.Check(s.t.Context(), rawStorage{s, node})
		if len(node.Plugins(s.t, plugin)) > 0 {
			continue // Vault started the plugin for its regular work, so somebody wrote
		}
		require.NoError(s.t, err)
		if len(report.Findings) > 0 || report.Certificates < s.book.count() {
			s.book.problem("fsck of storage after a kill: %d certificates, %v", report.Certificates, report.Findings)
		}
		s.t.Logf("fsck: %d certificates on %d pages, %d rows in %d segments, %d markers",
			report.Certificates, report.Pages, report.Rows, report.Segments, report.Markers)
		s.recover()
		return
	}
}

// sound has the engine check its storage itself, while it works.
func (s *site) sound() {
	s.t.Helper()
	s.must(http.MethodPost, mount+"/fsck", nil)
	var report struct {
		State    string
		Whole    *bool
		Count    int `json:"certificate_count"`
		Total    int `json:"finding_count"`
		Findings []struct{ Severity, Key, Problem string }
	}
	s.until("checking storage", func() bool {
		s.must(http.MethodGet, mount+"/fsck", nil).decode(s.t, &report)
		return report.State != "running"
	})
	if report.State != "finished" || report.Whole == nil || !*report.Whole || report.Total != 0 || report.Count < s.book.count() {
		s.book.problem("fsck: %+v", report)
	}
}

// rawStorage is the mount's storage, decrypted by Vault without the plugin. It
// implements kv.Store as far as fsck needs it.
type rawStorage struct {
	site *site
	node *harness.Server
}

func (r rawStorage) path(key string) string { return "sys/raw/logical/" + r.site.uuid + "/" + key }

// Get implements kv.Store.
func (r rawStorage) Get(_ context.Context, key string) ([]byte, error) {
	a := r.site.askNode(r.node, http.MethodGet, r.path(key)+"?encoding=base64", nil)
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	var found struct{ Data struct{ Value string } }
	if err := r.decode(a, key, &found); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(found.Data.Value)
}

// List implements kv.Store.
func (r rawStorage) List(_ context.Context, prefix string) ([]string, error) {
	a := r.site.askNode(r.node, "LIST", strings.TrimSuffix(r.path(prefix), "/"), nil)
	if a.Status == http.StatusNotFound {
		return nil, nil
	}
	var found struct{ Data struct{ Keys []string } }
	err := r.decode(a, prefix, &found)
	return found.Data.Keys, err
}

// Put implements kv.Store: fsck changes nothing.
func (r rawStorage) Put(_ context.Context, key string, _ []byte) error {
	return fmt.Errorf("writing %s: this storage is only looked at", key)
}

// Delete implements kv.Store: fsck changes nothing.
func (r rawStorage) Delete(_ context.Context, key string) error {
	return fmt.Errorf("deleting %s: this storage is only looked at", key)
}

func (r rawStorage) decode(a answer, key string, target any) error {
	if !a.ok() {
		return fmt.Errorf("reading %s: %d %s", key, a.Status, a.Body)
	}
	return json.Unmarshal(a.Body, target)
}
