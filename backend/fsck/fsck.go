// Package fsck promises to tell whether a mount's storage is whole: it re-derives
// every invariant that the rooms keep from storage alone, changes nothing, and
// names each key at which one does not hold.
//
// It reads everything and lists prefixes that are not leaves: minutes on a large
// mount, and not for the path of a request.
package fsck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/issuer"
	"vault-plugin-secrets-enterprise-pki/backend/kv"
	"vault-plugin-secrets-enterprise-pki/backend/layout"
)

// Severity says what a finding asks for.
type Severity int

// The severities.
const (
	// Notice: storage is whole; what a crash left behind that someone should know.
	Notice Severity = iota
	// Broken: an invariant does not hold.
	Broken
)

// String returns the severity in lower case.
func (s Severity) String() string { return [...]string{"notice", "broken"}[s] }

// Finding is one thing found.
type Finding struct {
	Severity Severity
	Key      string // storage key
	Problem  string
}

// String returns "broken page/...: what is wrong".
func (f Finding) String() string { return fmt.Sprintf("%s %s: %s", f.Severity, f.Key, f.Problem) }

// Report is the outcome of a check.
type Report struct {
	Findings []Finding // in the order of keys

	Pages        int
	Certificates int
	Intents      int // certificates that were about to be signed and never recorded
	Segments     int
	Rows         int // the newest of each serial
	Markers      int
	CRLs         int
}

// Broken counts the findings that are broken invariants.
func (r *Report) Broken() int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == Broken {
			n++
		}
	}
	return n
}

// Err returns the broken findings as one error, nil when there are none.
func (r *Report) Err() error {
	var problems []error
	for _, f := range r.Findings {
		if f.Severity == Broken {
			problems = append(problems, errors.New(f.String()))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	return fault.New(fault.Internal, "storage is not whole: %w", errors.Join(problems...))
}

// Check reads the whole storage of a mount that nobody writes meanwhile. The error
// is that of storage; what is wrong with what was read is in the report.
func Check(ctx context.Context, store kv.Store) (Report, error) {
	return CheckAt(ctx, store, time.Time{})
}

// CheckAt is Check for a caller who knows the time. Without it, certificates count as not
// expired that had not at the time of the newest change in storage.
func CheckAt(ctx context.Context, store kv.Store, now time.Time) (Report, error) {
	c := checker{ctx: ctx, store: store, now: now}
	for _, work := range []func() error{c.names, c.fence, c.segments, c.markers, c.tidied, c.issuers, c.pages, c.rows, c.profiles, c.lists, c.ownerless} {
		if err := work(); err != nil {
			return c.report, err
		}
	}
	slices.SortStableFunc(c.report.Findings, func(a, b Finding) int { return strings.Compare(a.Key, b.Key) })
	return c.report, nil
}

// checker is one check under way.
type checker struct {
	ctx    context.Context
	store  kv.Store
	report Report
	now    time.Time // not before the newest change in storage

	book   book
	stored issuer.Stored
	lost   map[string]map[cert.Serial]time.Time // ends of certificates by issuers that storage does not know
}

func (c *checker) broken(key, format string, args ...any) {
	c.report.Findings = append(c.report.Findings, Finding{Broken, key, fmt.Sprintf(format, args...)})
}

func (c *checker) notice(key, format string, args ...any) {
	c.report.Findings = append(c.report.Findings, Finding{Notice, key, fmt.Sprintf(format, args...)})
}

func (c *checker) list(prefix string) ([]string, error) {
	names, err := c.store.List(c.ctx, prefix)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", prefix, err)
	}
	return names, nil
}

func (c *checker) get(key string) ([]byte, error) {
	raw, err := c.store.Get(c.ctx, key)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", key, err)
	}
	return raw, nil
}

// names checks that keys are where the layout has them. What lies outside every
// prefix of the layout cannot be listed through a kv.Store: see Names.
func (c *checker) names() error {
	listed := map[string]bool{}
	for _, row := range layout.Table {
		top, _, _ := strings.Cut(row.Prefix, "/")
		if top += "/"; listed[top] {
			continue
		}
		listed[top] = true
		names, err := c.list(top)
		if err != nil {
			return err
		}
		for _, name := range names {
			if problem := misplaced(top + name); problem != "" {
				c.broken(top+name, "%s", problem)
			}
		}
	}
	return nil
}

// misplaced says what is wrong with a key or folder, "" for nothing.
func misplaced(key string) string {
	row, found := layout.Find(key)
	switch {
	case !found:
		return "no room owns this key"
	case row.Leaf && strings.HasSuffix(key, "/"):
		return "folder in " + row.Prefix + ", which has none"
	}
	return ""
}

// Names checks a list of storage keys for those that package layout does not know. A
// kv.Store cannot list every key; a fake or a backup can.
func Names(keys []string) []Finding {
	var findings []Finding
	for _, key := range keys {
		row, found := layout.Find(key)
		rest := strings.TrimPrefix(key, row.Prefix)
		switch {
		case !found:
			findings = append(findings, Finding{Broken, key, "no room owns this key"})
		case row.Leaf && strings.Contains(rest, "/"):
			findings = append(findings, Finding{Broken, key, "folder in " + row.Prefix + ", which has none"})
		}
	}
	return findings
}
