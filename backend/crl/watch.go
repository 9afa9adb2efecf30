package crl

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// watched are the issuers whose list was imported.
type watched struct {
	mu      sync.Mutex // guards what follows; never held over storage
	issuers []string   // nil: storage was not asked
	warned  map[string]string
}

// watchToo adds an issuer whose list was imported.
func (s *Service) watchToo(issuer string) {
	s.watched.mu.Lock()
	defer s.watched.mu.Unlock()
	if !slices.Contains(s.watched.issuers, issuer) && s.watched.issuers != nil {
		s.watched.issuers = append(s.watched.issuers, issuer)
	}
}

// watch logs a warning for each list that nobody renews in time: once when half of its
// life is over, and once when it has ended. It costs no storage operation but the first
// time.
func (s *Service) watch(ctx context.Context) error {
	if err := s.upgraded(ctx); err != nil {
		return err
	}
	issuers, err := s.importedIssuers(ctx)
	if err != nil {
		return err
	}
	for _, issuer := range issuers {
		alarm, err := s.Alarm(ctx, issuer)
		if err != nil {
			return err
		}
		s.watched.mu.Lock()
		said := s.watched.warned[issuer] == alarm
		s.watched.warned[issuer] = alarm
		s.watched.mu.Unlock()
		if alarm != "" && !said {
			s.config.Log.Warn("imported CRL: "+alarm, "issuer", issuer)
		}
	}
	return nil
}

// importedIssuers returns the issuers whose list was imported: from memory, else with one
// List and a Get for each issuer that signs no lists here.
func (s *Service) importedIssuers(ctx context.Context) ([]string, error) {
	s.watched.mu.Lock()
	known := s.watched.issuers
	s.watched.mu.Unlock()
	if known != nil {
		return slices.Clone(known), nil
	}
	names, err := s.heads.Names(ctx)
	if err != nil {
		return nil, err
	}
	own, err := s.config.Source.Publishers(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing issuers that publish CRLs: %w", err)
	}
	found := []string{}
	for _, name := range names {
		issuer, kind := SplitName(name)
		if kind != Complete || slices.Contains(own, issuer) {
			continue
		}
		head, err := s.head(ctx, issuer, Complete)
		if err != nil {
			return nil, err
		}
		if head != nil && head.Imported {
			found = append(found, issuer)
		}
	}
	s.watched.mu.Lock()
	defer s.watched.mu.Unlock()
	for _, issuer := range s.watched.issuers { // imported meanwhile
		if !slices.Contains(found, issuer) {
			found = append(found, issuer)
		}
	}
	s.watched.issuers = found
	return slices.Clone(found), nil
}

// Alarm says in words what is wrong with the complete list of an issuer, "" when nothing
// is: it has ended, or its renewal is overdue. A list that was imported is due at half of
// its life, one that is made here when half of the time that was left at its renewal is
// over.
func (s *Service) Alarm(ctx context.Context, issuer string) (string, error) {
	issuer, err := s.ca(ctx, issuer)
	if err != nil {
		return "", err
	}
	head, err := s.head(ctx, issuer, Complete)
	if err != nil || head == nil {
		return "", err
	}
	due := head.made().Add(head.NextUpdate.Sub(head.made()) / 2)
	remedy := "import the next one (issuer/:ref/crl/import)"
	if !head.Imported {
		r, err := s.rules(ctx)
		if err != nil {
			return "", err
		}
		renewal := r.renewal(*head)
		due, remedy = renewal.Add(head.NextUpdate.Sub(renewal)/2), "see the log for why it is not renewed"
	}
	now, number := s.config.Now(), head.CRLNumber().String()
	end := head.NextUpdate.UTC().Format(time.RFC3339)
	switch {
	case !now.Before(head.NextUpdate):
		return fmt.Sprintf("CRL %s has ended at %s: relying parties refuse what depends on it; %s", number, end, remedy), nil
	case !now.Before(due):
		return fmt.Sprintf("CRL %s ends at %s: %s", number, end, remedy), nil
	}
	return "", nil
}
