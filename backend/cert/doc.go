// Package cert promises the vocabulary that all rooms share: serial numbers, key
// and signature algorithms, names, revocation reasons and fingerprints, and the
// parsing of CSRs and PEM with caps that hold before anything is decoded.
package cert
