package page

import (
	"crypto/x509"
	"fmt"
	"strconv"
	"time"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
)

const day = 24 * time.Hour

// soon is how long before its end a CA certificate is said to expire soon, less for one
// of a short life.
const soon = 90 * day

// heard is how long ago the edge may have heard from the CA to be called current. It
// asks about once a second; half a minute forgives a leader election.
const heard = 30 * time.Second

func syncStatus(repository Repository) status {
	last, now := repository.Synchronized, repository.Now
	if last.IsZero() {
		return status{"warn", "Starting", "This server has not heard from the certification authority yet. What it shows may be incomplete."}
	}
	age := now.Sub(last)
	said := "The last word from the certification authority came on " + momentOf(last).Text + ", " + span(age) + " ago. "
	switch {
	case age <= heard:
		return status{"good", "Up to date", "Certificates, revocation lists and online status are those of the certification authority as of " + momentOf(now).Text + "."}
	case repository.StalenessLimit > 0 && age > repository.StalenessLimit:
		return status{"bad", "Out of date", said + "New OCSP answers are withheld until the connection is back; revocation lists count until their next update."}
	}
	return status{"warn", "Working from copies", said + "Everything below was right then. Revocation lists count until their next update."}
}

func validity(c *x509.Certificate, now time.Time) status {
	switch {
	case now.Before(c.NotBefore):
		return status{"warn", "not yet valid", "begins in " + span(c.NotBefore.Sub(now))}
	case now.After(c.NotAfter):
		return status{"bad", "expired", "expired " + span(now.Sub(c.NotAfter)) + " ago"}
	}
	if left := c.NotAfter.Sub(now); left < min(soon, c.NotAfter.Sub(c.NotBefore)/10) {
		return status{"warn", "expires soon", span(left) + " left"}
	}
	return status{"good", "valid", span(c.NotAfter.Sub(now)) + " left"}
}

func momentOf(t time.Time) moment {
	if t.IsZero() {
		return moment{"unknown", ""}
	}
	utc := t.UTC()
	return moment{utc.Format("2 Jan 2006, 15:04 UTC"), utc.Format(time.RFC3339)}
}

// span tells a duration in the largest unit of which there are at least two, or one
// where a smaller unit would say more than anybody wants to know.
func span(d time.Duration) string {
	units := []struct {
		name   string
		length time.Duration
	}{{"year", 365 * day}, {"month", 30 * day}, {"day", day}, {"hour", time.Hour}, {"minute", time.Minute}}
	for _, unit := range units {
		if count := int(d / unit.length); count >= 2 {
			return strconv.Itoa(count) + " " + unit.name + "s"
		}
	}
	if d >= time.Minute {
		return "a minute"
	}
	return "less than a minute"
}

func sizeWords(octets int) string {
	switch {
	case octets < 1000:
		return strconv.Itoa(octets) + " bytes"
	case octets < 1000*1000:
		return fmt.Sprintf("%.1f kB", float64(octets)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(octets)/1e6)
}

// keyWords names a key as its certificate's readers do.
func keyWords(c *x509.Certificate) string {
	spec, err := cert.KeySpecOf(c.PublicKey)
	switch {
	case err != nil:
		return "of a kind that this server does not know"
	case spec.Type == cert.EC:
		return "ECDSA, curve P-" + strconv.Itoa(spec.Bits)
	case spec.Type == cert.RSA:
		return "RSA, " + strconv.Itoa(spec.Bits) + " bits"
	}
	return "Ed25519"
}
