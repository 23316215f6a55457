// Connic-fake serves the fake of package connictest over HTTP, for programs in
// other languages and for experiments.
//
//	connic-fake -addr 127.0.0.1:8080
//	connic-fake -config fake.json
//	connic-fake -record session.json
//	connic-fake -replay session.json
//
// It has three agents: echo returns its message, slow does so after 5 s, and fail
// fails. A configuration replaces them (see docs/guide/testing.md). Its first agent
// has a sync and an inbound connector; contrib/chat has the same program with a
// WebSocket connector. The program prints the environment variables
// for clients, logs each request to standard error with keys and secrets masked, and stops on
// SIGINT or SIGTERM. At /openapi.json it serves the OpenAPI document.
//
// With -record it is no fake: it passes requests on to the service, and writes
// them to a file when it stops (see connictest.Record). With -replay it responds
// with what such a file contains, and exits with status 1 if a request was not in
// it, or an exchange was not asked for.
package main

import (
	"os"

	"github.com/connic-go/connic/internal/fakecmd"
)

func main() { os.Exit(fakecmd.Main()) }
