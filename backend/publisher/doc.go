// Package publisher promises that what an operator wants to be shown and published
// elsewhere is kept here, checked as a whole when it is written, for the edges to do:
// config/edge, publishers/:name, and what edges report of their work. It holds no
// credential, reaches no network, and answers from memory once it was read.
package publisher
