// Package storage promises that storage which an earlier build has written is read
// whole, and that storage which a newer build has written is left alone.
//
// Each folder of testdata is named after the commit whose build wrote it. storage.json has
// every storage entry of one mount, base64 by key, and facts.json has the responses of that
// build: issuers, certificates and their states, CRL numbers, roles, profiles, settings. The
// keys are test keys.
//
// A change of a stored format adds a folder. To write one, check out the commit before the
// change, write a test on paths/pathstest there that brings a mount into every state, have it
// write both files from Mount.Storage and the responses, and commit only the files. The
// certificates must live for decades.
package storage
