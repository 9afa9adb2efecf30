package fault

// Nearest returns the name that differs least from a misspelled one, "" when none is
// near: at most two letters added, left out or changed. For texts such as "did you mean".
func Nearest(misspelled string, names []string) string {
	const limit = 64 // bytes of a name that is worth comparing
	if len(misspelled) > limit {
		return ""
	}
	best, distance := "", 3
	for _, name := range names {
		d := edits(misspelled, name)
		if d < distance || d == distance && d < 3 && name < best {
			best, distance = name, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two short names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
