package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/edge/state"
)

// healthy says that the process answers: for what would start it anew.
func (s *Server) healthy(w http.ResponseWriter) { s.words(w, http.StatusOK, "ok\n") }

// words answers with text that no cache may keep.
func (s *Server) words(w http.ResponseWriter, status int, text string) {
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // who asked may be gone
	s.counts.add(kindOther, status)
}

// ready says whether the edge should be asked, for a load balancer, and how old what
// it knows is, for people.
func (s *Server) ready(w http.ResponseWriter) {
	text, ok := s.readiness(s.config.Snapshot(), s.config.Now())
	if ok {
		s.words(w, http.StatusOK, "ready: "+text+"\n")
		return
	}
	w.Header().Set("Retry-After", "5")
	s.words(w, http.StatusServiceUnavailable, "not ready: "+text+"\n")
}

func (s *Server) readiness(snapshot *state.Snapshot, now time.Time) (string, bool) {
	switch {
	case snapshot.Issuers == nil:
		return s.unreached() + ", and there are no copies on disk", false
	case snapshot.Rows == nil:
		return "the status of certificates is not loaded yet", false
	case snapshot.Starting:
		return "started, and asking the mount what is new", false
	}
	age := snapshot.Staleness(now).Round(time.Second)
	said := fmt.Sprintf("in step with the mount %s ago, %d certificates, sequence %d", age, snapshot.Rows.Len(), snapshot.Sequence)
	if limit := snapshot.Limit(); !snapshot.Current(now) {
		return fmt.Sprintf("%s: beyond the limit of %s, OCSP answers tryLater: %s", said, limit, s.unreached()), false
	} else if limit > 0 && age > time.Minute {
		said += fmt.Sprintf(": OCSP goes on for %s", (limit - age).Round(time.Second))
	}
	if missing := s.withoutSigner(snapshot, now); len(missing) > 0 {
		return fmt.Sprintf("%s; no OCSP signer for %s", said, strings.Join(missing, ", ")), false
	}
	return said, true
}

// unreached says why the mount is not followed. What Vault answers is for operators, who
// have to change something; where it is and why it cannot be reached is in the log.
func (s *Server) unreached() string {
	if s.config.Failure != nil {
		if err := s.config.Failure(); err != nil && !fault.Is(err, fault.Unavailable) {
			return err.Error()
		}
	}
	return "Vault has not answered yet"
}

// withoutSigner lists the issuers that are to be answered for and cannot be.
func (s *Server) withoutSigner(snapshot *state.Snapshot, now time.Time) []string {
	if snapshot.Manifest.OCSP.Disabled {
		return nil
	}
	var missing []string
	for _, issuer := range snapshot.Issuers {
		if issuer.OCSP && now.Before(issuer.Certificate.NotAfter) && !now.Before(s.config.SignerEnds(issuer.ID)) {
			missing = append(missing, issuer.ID)
		}
	}
	return missing
}

// metrics answers in the text format of Prometheus, version 0.0.4.
func (s *Server) metrics(w http.ResponseWriter) {
	var b bytes.Buffer
	s.counts.write(&b)
	snapshot, now := s.config.Snapshot(), s.config.Now()
	polls, failures := s.config.Polls()
	counter(&b, "pki_edge_polls_total", "Polls of the mount.", polls)
	counter(&b, "pki_edge_poll_failures_total", "Polls of the mount that failed.", failures)
	gauge(&b, "pki_edge_info", "Version of pki-edge.", sample{`{version="` + escape(s.config.Version) + `"}`, 1})
	_, ready := s.readiness(snapshot, now)
	is := map[bool]float64{true: 1}[ready]
	gauge(&b, "pki_edge_ready", "1 if the edge is ready, see /readyz.", sample{"", is})
	if snapshot.Rows != nil {
		gauge(&b, "pki_edge_staleness_seconds", "Seconds since the edge last had the complete status of all certificates.", sample{"", snapshot.Staleness(now).Seconds()})
		gauge(&b, "pki_edge_feed_sequence", "Last sequence number read from the status feed.", sample{"", float64(snapshot.Sequence)})
		gauge(&b, "pki_edge_rows", "Certificates in memory.", sample{"", float64(snapshot.Rows.Len())})
	}
	gauge(&b, "pki_edge_staleness_limit_seconds", "Staleness in seconds above which OCSP answers tryLater; 0: no limit.", sample{"", snapshot.Limit().Seconds()})
	issuerMetrics(&b, snapshot, now, s.config.SignerEnds)
	if s.config.Metrics != nil {
		s.config.Metrics(&b)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(b.Bytes()) // who asked may be gone
	s.counts.add(kindOther, http.StatusOK)
}

// issuerMetrics writes what is measured of each issuer.
func issuerMetrics(b *bytes.Buffer, snapshot *state.Snapshot, now time.Time, signerEnds func(string) time.Time) {
	var ages, lefts, numbers, signers []sample
	for _, issuer := range snapshot.Issuers {
		label := `issuer="` + escape(issuer.ID) + `"`
		if ends := signerEnds(issuer.ID); issuer.OCSP && !ends.IsZero() {
			signers = append(signers, sample{"{" + label + "}", ends.Sub(now).Seconds()})
		}
		for k := range issuer.Lists {
			list := &issuer.Lists[k]
			labels := "{" + label + `,list="` + escape(list.Name()) + `"}`
			ages = append(ages, sample{labels, now.Sub(list.ThisUpdate).Seconds()})
			lefts = append(lefts, sample{labels, list.NextUpdate.Sub(now).Seconds()})
			numbers = append(numbers, sample{labels, float64(list.Number)})
		}
	}
	gauge(b, "pki_edge_crl_age_seconds", "Seconds since thisUpdate of a CRL.", ages...)
	gauge(b, "pki_edge_crl_expiry_seconds", "Seconds until nextUpdate of a CRL; negative after it.", lefts...)
	gauge(b, "pki_edge_crl_number", "CRL number.", numbers...)
	gauge(b, "pki_edge_ocsp_signer_expiry_seconds", "Seconds until the OCSP signer's certificate expires.", signers...)
}

// sample is one value with its labels.
type sample struct {
	labels string
	value  float64
}

func gauge(b *bytes.Buffer, name, help string, samples ...sample) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
	for _, s := range samples {
		fmt.Fprintf(b, "%s%s %s\n", name, s.labels, strconv.FormatFloat(s.value, 'f', -1, 64))
	}
}

func counter(b *bytes.Buffer, name, help string, value uint64) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s counter\n%s %d\n", name, help, name, name, value)
}

// escape writes a label's value.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(text)
}
