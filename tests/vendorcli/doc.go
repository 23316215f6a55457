// Package vendorcli takes the vendor's own command-line client through the fake. The
// client is the only one that is known to work with the service, so what it makes
// of the fake's answers says how true the fake is. See run.sh.
package vendorcli
