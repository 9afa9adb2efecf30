package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/term"

	"vault-plugin-secrets-enterprise-pki/backend/fault"
	"vault-plugin-secrets-enterprise-pki/backend/hsm"
)

// maxPIN is the longest PIN that is read, in octets; PKCS#11 tokens take far less.
const maxPIN = 1024

// pin returns the PIN of a token, from --pin-file or from the terminal. There is no
// flag with the PIN itself and no variable for it: command lines and environments
// are seen by others.
func (a *app) pin(token string) (string, error) {
	if a.flags.pinFile == "" {
		return askPIN(token)
	}
	var raw []byte
	var err error
	if a.flags.pinFile == "-" {
		raw, err = io.ReadAll(io.LimitReader(a.around.In, maxPIN+1))
	} else {
		raw, err = readPINFile(a.flags.pinFile)
	}
	if err != nil {
		return "", err
	}
	pin := hsm.TrimPIN(string(raw))
	if pin == "" || len(pin) > maxPIN {
		return "", fault.Field("--pin-file", "must hold a PIN of 1 to %d octets on one line", maxPIN)
	}
	return pin, nil
}

func readPINFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.FieldOf(fault.NotFound, "--pin-file", "%w", err)
	}
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, "--pin-file", "%w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, fault.FieldOf(fault.Unavailable, "--pin-file", "%w", err)
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return nil, fault.FieldOf(fault.Denied, "--pin-file", "%s can be read by others: chmod 600", path)
	}
	return io.ReadAll(io.LimitReader(file, maxPIN+1))
}

// askPIN asks on the terminal, whatever standard input is, without showing what is
// typed. It asks once.
func askPIN(token string) (string, error) {
	terminal, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fault.Field("--pin-file", "there is no terminal to ask for the PIN: %w", err)
	}
	defer terminal.Close()
	fmt.Fprintf(terminal, "PIN of %s: ", token)
	pin, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(terminal)
	if err != nil {
		return "", fault.New(fault.Unavailable, "reading the PIN from the terminal: %w", err)
	}
	if len(pin) == 0 {
		return "", fault.New(fault.Invalid, "no PIN was given")
	}
	return string(pin), nil
}
