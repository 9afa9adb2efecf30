// Command pki-ceremony makes and uses an offline root CA: its key on a PKCS#11
// token, its certificate, the issuing CAs below it and its CRL. It is meant for a
// machine without network, links no code that could make a connection, and does what
// an order file says, step by step, in words that witnesses can follow.
package main

import (
	"context"
	"os"
	"os/signal"
	"time"
)

// version is set by the linker.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code := run(ctx, os.Args[1:], surroundings{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now})
	stop()
	os.Exit(code)
}
