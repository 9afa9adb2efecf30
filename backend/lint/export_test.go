package lint

import (
	"maps"
	"slices"
)

// Replaced lists the zlint rules that never run here.
func Replaced() []string { return slices.Sorted(maps.Keys(replaced)) }

// OwnRules lists the names of the rules that are written here, not zlint's.
func OwnRules() []string {
	list := make([]string, len(rules))
	for i, rule := range rules {
		list[i] = rule.Name
	}
	return list
}
