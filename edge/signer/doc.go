// Package signer promises that an edge signs OCSP answers with keys of its own: made
// here, certified by each issuer for a short life, renewed after two thirds of it, the
// old one in use until the new one is valid. No key leaves the process, but into a
// token or, where the configuration says so, into a file of mode 0600. What a killed
// process left in a token is destroyed at the next start.
package signer
