package publish

import (
	"fmt"
	"io"
	"strings"
)

// Metrics writes how every publisher fares in the text format of Prometheus.
func (s *Service) Metrics(w io.Writer) {
	states := s.States()
	if len(states) == 0 {
		return
	}
	fmt.Fprint(w, "# HELP pki_edge_publish_places Targets of a publisher by result of the last check.\n# TYPE pki_edge_publish_places gauge\n")
	for _, state := range states {
		fmt.Fprintf(w, "pki_edge_publish_places{publisher=%[1]s,state=\"done\"} %[2]d\npki_edge_publish_places{publisher=%[1]s,state=\"failing\"} %[3]d\n",
			label(state.Publisher), state.Done, state.Failing)
	}
	fmt.Fprint(w, "# HELP pki_edge_publish_verified_timestamp_seconds Time of the last successful check of a target, in seconds since 1970.\n# TYPE pki_edge_publish_verified_timestamp_seconds gauge\n")
	for _, state := range states {
		if !state.Verified.IsZero() {
			fmt.Fprintf(w, "pki_edge_publish_verified_timestamp_seconds{publisher=%s} %d\n", label(state.Publisher), state.Verified.Unix())
		}
	}
}

// label quotes a value as the format wants it.
func label(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value) + `"`
}
