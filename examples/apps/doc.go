// Package apps is empty: the programs are in the folders below it.
//
// They form a module of their own, so that the libraries they use are nobody
// else's. Quickstart, one folder up, needs none and belongs to the root module.
package apps
