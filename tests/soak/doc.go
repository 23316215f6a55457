// Package soak runs the client for long, and under load, over real sockets, in a
// process of its own: what is left behind at the end is a leak.
package soak
