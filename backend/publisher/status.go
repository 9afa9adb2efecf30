package publisher

import (
	"context"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/feed"
)

// MaxItems is how many results are kept of one publisher; the oldest leave first. As
// many as long as can be fit in one storage entry.
const MaxItems = 400

// Result is what an edge reported last of one thing that it publishes.
type Result struct {
	Edge string `json:"edge" doc:"Name of the edge."`
	feed.ReportItem
	Heard string `json:"heard" doc:"When the mount heard of it, RFC 3339."`
}

// reports are the results of one publisher, the newest last.
type reports struct {
	Items []Result `json:"items"`
}

// Status returns what edges have reported of a publisher, by edge, issuer and list.
// NotFound.
func (s *Service) Status(ctx context.Context, name string) ([]Result, error) {
	if _, _, err := s.Get(ctx, name); err != nil {
		return nil, err
	}
	s.reporting.Lock()
	defer s.reporting.Unlock()
	heard, err := s.results(ctx, name)
	if err != nil {
		return nil, err
	}
	items := slices.Clone(heard.Items)
	slices.SortFunc(items, func(a, b Result) int {
		return strings.Compare(a.Edge+"\x00"+a.Issuer+"\x00"+a.List, b.Edge+"\x00"+b.Issuer+"\x00"+b.List)
	})
	return items, nil
}

// Report takes what an edge says of its work on a publisher. Storage is written when
// something is new beside the time. NotFound.
func (s *Service) Report(ctx context.Context, name string, report feed.Report) error {
	if err := check(&report); err != nil {
		return err
	}
	if _, _, err := s.Get(ctx, name); err != nil {
		return err
	}
	s.reporting.Lock()
	defer s.reporting.Unlock()
	heard, err := s.results(ctx, name)
	if err != nil {
		return err
	}
	next, news := reports{Items: slices.Clone(heard.Items)}, false
	at := s.now().UTC().Format(time.RFC3339)
	for _, item := range report.Items {
		news = next.take(Result{Edge: report.Edge, ReportItem: item, Heard: at}) || news
	}
	next.Items = next.Items[max(len(next.Items)-MaxItems, 0):]
	if news {
		if err := s.reports.Put(ctx, name, &next); err != nil {
			delete(s.heard, name) // the write may have happened: read it again
			return err
		}
	}
	s.heard[name] = &next
	return nil
}

// take puts a result in the place of the one before, and reports whether it says
// something new.
func (r *reports) take(result Result) (news bool) {
	news = true
	r.Items = slices.DeleteFunc(r.Items, func(old Result) bool {
		same := old.Edge == result.Edge && old.Issuer == result.Issuer && old.List == result.List
		if same {
			news = old.Number != result.Number || old.SHA256 != result.SHA256 || old.Error != result.Error
		}
		return same
	})
	r.Items = append(r.Items, result)
	return news
}

// check holds a report to what fits and can be shown.
func check(report *feed.Report) error {
	if report.Edge == "" || len(report.Edge) > 128 {
		return fault.Field("edge", "must be the name of the edge, at most 128 bytes")
	}
	if len(report.Items) > MaxItems {
		return fault.FieldOf(fault.TooLarge, "items", "must be at most %d", MaxItems)
	}
	for _, item := range report.Items {
		if len(item.Issuer) > feed.MaxIssuer || len(item.List) > 32 || len(item.SHA256) > 64 || len(item.Error) > 512 {
			return fault.Field("items", "must hold issuer, list, sha256 and error of at most %d, 32, 64 and 512 bytes", feed.MaxIssuer)
		}
		if _, err := time.Parse(time.RFC3339, item.At); err != nil {
			return fault.Field("items", "at must be a time of RFC 3339")
		}
		for _, text := range []string{report.Edge, item.Issuer, item.List, item.SHA256, item.Error} {
			if strings.ContainsFunc(text, control) {
				return fault.Field("items", "must not hold control characters")
			}
		}
	}
	return nil
}

// results returns the reports of a publisher: from memory, else with one Get. The
// caller holds reporting.
func (s *Service) results(ctx context.Context, name string) (*reports, error) {
	if heard := s.heard[name]; heard != nil {
		return heard, nil
	}
	stored, err := s.reports.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		stored = &reports{}
	}
	s.heard[name] = stored
	return stored, nil
}
