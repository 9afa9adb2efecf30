package schema

import "slices"

// Page is the window of a list that a request asks for. Lists embed it.
type Page struct {
	After string `json:"after" doc:"Return only names after this one, in the order of the list." max:"512"`
	Limit int    `json:"limit" doc:"Return at most this many names; 0 for all." min:"0" max:"100000" default:"0"`
}

// Window returns the part of sorted names that the page asks for.
func (p Page) Window(names []string) []string {
	if p.After != "" {
		at, found := slices.BinarySearch(names, p.After)
		if found {
			at++
		}
		names = names[at:]
	}
	if p.Limit > 0 && len(names) > p.Limit {
		names = names[:p.Limit]
	}
	return names
}

// Keys is the answer of a list without details.
type Keys struct {
	Keys []string `json:"keys" doc:"The names, sorted."`
}

// KeyInfo is the answer of a list with details of each name.
type KeyInfo[T any] struct {
	Keys []string     `json:"keys" doc:"The names, sorted."`
	Info map[string]T `json:"key_info" doc:"Details of each, by name."`
}

// NewKeyInfo returns the part of sorted names that the page asks for, with their
// details.
func NewKeyInfo[T any](page Page, names []string, details map[string]T) KeyInfo[T] {
	answer := KeyInfo[T]{Keys: page.Window(names), Info: make(map[string]T, len(names))}
	for _, name := range answer.Keys {
		answer.Info[name] = details[name]
	}
	return answer
}
