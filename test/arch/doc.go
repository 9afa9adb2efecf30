// Package arch promises that the layout of the architecture stays true: who may
// import whom, where time is taken and certificates are made, how large files and
// functions grow, what is documented, and which requirement is shown by which test.
// It holds tables and tests, nothing that runs in the product.
package arch
