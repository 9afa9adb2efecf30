//go:build cgo

package hsm_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"vault-plugin-secrets-enterprise-pki/backend/cert"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
	"vault-plugin-secrets-enterprise-pki/backend/hsm/hsmtest"
	"vault-plugin-secrets-enterprise-pki/test/token"
)

// The variables that make this test binary one of several processes on one token.
const (
	childSerial = "HSM_TEST_SERIAL"
	childModule = "HSM_TEST_MODULE"
)

// child opens a token, makes a key and signs, and returns an exit code.
func child(serial string) int {
	work := func() error {
		opened, err := hsm.Open(context.Background(), hsm.Config{Module: os.Getenv(childModule), TokenSerial: serial, PIN: token.PIN})
		if err != nil {
			return fmt.Errorf("opening: %w", err)
		}
		id := make([]byte, 16)
		if _, err := rand.Read(id); err != nil {
			return err
		}
		signer, _, err := opened.Generate(context.Background(), cert.P256, id, "")
		if err != nil {
			return fmt.Errorf("generating: %w", err)
		}
		return hsmtest.Verify(signer)
	}
	if err := work(); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestProcessesStartTogetherOnOneToken(t *testing.T) {
	made := token.New(t, "crowd")
	token.New(t, "bystander")
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), made.Env(), childSerial+"="+made.Serial, childModule+"="+made.Module)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	wait.Wait()
}
