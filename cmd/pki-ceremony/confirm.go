package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
)

// confirm returns what asks the person at the terminal whether the plan above shall be
// carried out, nil when nobody is to be asked: with --yes, and when standard input is no
// terminal, as in scripts.
func (a *app) confirm() func() error {
	in, ok := a.around.In.(*os.File)
	if a.flags.yes || !ok || !term.IsTerminal(int(in.Fd())) {
		return nil
	}
	return func() error {
		fmt.Fprint(a.around.Err, "Sign as shown above? Type yes: ")
		answer, err := readLine(in)
		if err != nil {
			return fault.New(fault.Unavailable, "reading the answer from the terminal: %w", err)
		}
		if answer != "yes" {
			return fault.New(fault.Conflict, "not confirmed: nothing was signed; type yes to sign, or use --check to look only")
		}
		return nil
	}
}

// readLine reads to the end of a line and no further: what follows may be the PIN.
func readLine(in io.Reader) (string, error) {
	const longest = 256
	var line strings.Builder
	one := make([]byte, 1)
	for line.Len() < longest {
		_, err := in.Read(one)
		if errors.Is(err, io.EOF) || err == nil && one[0] == '\n' {
			break
		}
		if err != nil {
			return "", err
		}
		line.WriteByte(one[0])
	}
	return strings.TrimSpace(line.String()), nil
}
