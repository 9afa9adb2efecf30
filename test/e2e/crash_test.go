package e2e_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/ocsp"
)

// crash ends the plugin as a crash would. SoftHSM rewrites a token's file whenever
// somebody logs in, and a kill in the middle would cost the token: signing first makes
// sure that nobody is logging in.
func crash(t testing.TB) {
	t.Helper()
	if twoTier.built.issuing != "" {
		until(t, "signing before the crash", func() bool {
			return post(t, rootClient, twoTier.built.mount+"/issue/web", fields{"common_name": "crash.example.com"}).Status == http.StatusOK
		})
	}
	vault.KillPlugins(t, plugin)
}

// kill ends the plugin and waits until it is back. The requests that were on their
// way, and the first one that finds the connection broken, get a 500 from Vault; nobody
// has to do anything for the next.
func kill(t testing.TB, mount string) {
	t.Helper()
	crash(t)
	until(t, "coming back", func() bool { return get(t, anonymous, mount+"/ca").Status < http.StatusBadRequest })
}

func TestKilledPluginSignsOn(t *testing.T) {
	h := shared(t)
	before := h.newLeaf(t, "before")
	for range 3 {
		kill(t, h.mount)
		after := h.newLeaf(t, "after")
		require.NotEqual(t, before.serial, after.serial)
		for _, l := range []leaf{before, after} {
			require.Equal(t, string(contents(t, l.path)), text(t, read(t, h.mount+"/cert/"+l.serial), "certificate"))
		}
	}
	until(t, "listing again", func() bool { return send(t, rootClient, "LIST", h.mount+"/certs", nil).Status == http.StatusOK })
	listed := h.serials(t)
	require.Contains(t, listed, before.serial)
	require.True(t, slices.IsSorted(listed))
}

func TestRev3_KilledPluginNeverCallsARevokedCertificateGood(t *testing.T) {
	h := shared(t)
	good, revoked := h.newLeaf(t, "kept"), h.newLeaf(t, "revoked")
	h.revoke(t, revoked, "keyCompromise")
	h.currentCRL(t)
	for range 3 {
		crash(t)
		until(t, "telling the truth", func() bool {
			status, answered := h.status(t, revoked)
			require.True(t, !answered || status == ocsp.Revoked, "%d", status)
			return answered
		})
		status, answered := h.status(t, good)
		require.True(t, answered)
		require.Equal(t, ocsp.Good, status)
		require.True(t, h.lists(t, revoked))
		require.Equal(t, "keyCompromise", read(t, h.mount+"/cert/"+revoked.serial)["revocation_reason"])
	}
}

// status asks for the status of a certificate by OCSP. What is no answer is a 500 of
// Vault whose plugin died, or tryLater.
func (h hierarchy) status(t testing.TB, l leaf) (status int, answered bool) {
	t.Helper()
	issuing := certificateOf(t, string(contents(t, h.issuing)))
	request, err := ocsp.CreateRequest(l.certificate, issuing, nil)
	require.NoError(t, err)
	a := get(t, anonymous, h.mount+"/ocsp/"+url.PathEscape(base64.StdEncoding.EncodeToString(request)))
	if a.Status == http.StatusInternalServerError {
		require.Contains(t, a.errors(t), "rpc error")
		return 0, false
	}
	response, err := ocsp.ParseResponseForCert(a.Body, l.certificate, issuing)
	if errors.Is(err, ocsp.ResponseError{Status: ocsp.TryLater}) {
		return 0, false
	}
	require.NoError(t, err)
	return response.Status, true
}

func TestCRLNumbersIncreaseAcrossAKill(t *testing.T) {
	h := shared(t)
	h.currentCRL(t)
	before := h.crl(t).Number
	kill(t, h.mount)
	h.currentCRL(t)
	require.Positive(t, h.crl(t).Number.Cmp(before))
}

// TestCrash1_WhatWasAcknowledgedSurvivesAKillUnderLoad signs from several clients
// while the plugin is killed again and again.
func TestCrash1_WhatWasAcknowledgedSurvivesAKillUnderLoad(t *testing.T) {
	mount := softwareRoot(t, nil)
	request := csr(t, "load.example.com")
	var lock sync.Mutex
	issued, revoked := map[string]string{}, map[string]bool{}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for turn := 0; ; turn++ {
				select {
				case <-stop:
					return
				default:
				}
				a := post(t, rootClient, mount+"/sign/web", fields{"csr": request})
				if a.Status != http.StatusOK {
					continue
				}
				data := a.data(t)
				serial := text(t, data, "serial_number")
				lock.Lock()
				issued[serial] = text(t, data, "certificate")
				lock.Unlock()
				if turn%4 == 0 && post(t, rootClient, mount+"/revoke", fields{"serial_number": serial}).Status == http.StatusOK {
					lock.Lock()
					revoked[serial] = true
					lock.Unlock()
				}
			}
		})
	}
	count := func() int {
		lock.Lock()
		defer lock.Unlock()
		return len(issued)
	}
	for range 4 {
		last := count()
		until(t, "signing on", func() bool { return count() >= last+50 })
		crash(t)
	}
	close(stop)
	clients.Wait()

	until(t, "listing again", func() bool { return send(t, rootClient, "LIST", mount+"/certs", nil).Status == http.StatusOK })
	listed := texts(t, send(t, rootClient, "LIST", mount+"/certs", nil).data(t), "keys")
	for serial, certificate := range issued {
		require.Contains(t, listed, serial)
		found := read(t, mount+"/cert/"+serial)
		require.Equal(t, certificate, found["certificate"])
		if revoked[serial] {
			require.NotEqual(t, "0", fmt.Sprint(found["revocation_time"]), serial)
		}
	}
	require.NotEmpty(t, revoked)
	t.Logf("%d certificates and %d revocations were acknowledged", len(issued), len(revoked))
}
