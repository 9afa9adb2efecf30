// Package sign promises that the CA key signs nothing that was not checked first:
// a certificate is signed only by redeeming a draft, once, and a draft exists only
// after the exact octets to be signed have passed every check. No other package
// calls x509.Create*.
package sign
