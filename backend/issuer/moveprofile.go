package issuer

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// MoveProfile lets every issuer follow a stored profile from one name to another: in
// permitted_profiles the old name is replaced by the given ones, of which the last is
// the new name, and so is it in what pending issuers shall become. Doing it again
// changes nothing.
func (s *Set) MoveProfile(ctx context.Context, from string, names []string) error {
	return s.change(ctx, func(snap *snapshot) error {
		for _, target := range snap.ordered {
			next := target.record
			permitted := movedIn(next.Settings.PermittedProfiles, from, names)
			if used, _, _ := strings.Cut(next.Profile, "@"); used == from {
				next.Profile = names[len(names)-1] + strings.TrimPrefix(next.Profile, from)
			}
			if next.Profile == target.record.Profile && slices.Equal(permitted, next.Settings.PermittedProfiles) {
				continue
			}
			next.Settings.PermittedProfiles = permitted
			if err := s.records.Put(ctx, next.ID, &next); err != nil {
				return fmt.Errorf("issuer %s: %w", next.ID, err)
			}
		}
		return nil
	})
}

// movedIn returns the list with a name replaced by others, each of them once.
func movedIn(list []string, from string, names []string) []string {
	if !slices.Contains(list, from) {
		return list
	}
	var moved []string
	for _, name := range list {
		replaced := []string{name}
		if name == from {
			replaced = names
		}
		for _, n := range replaced {
			if !slices.Contains(moved, n) {
				moved = append(moved, n)
			}
		}
	}
	return moved
}
