// Connic-doctor checks whether a program can work with the Connic API, and
// whether the API matches the assumptions of package connic.
//
//	connic-doctor                    checks key, project, permissions, quota, clock
//	connic-doctor drift openapi.json compares the service's document with ours
//	connic-doctor drift -live        compares the service's responses with ours
//	connic-doctor case fixture.json  turns a response into a conformance case
//
// The key is taken from the same places as by connic.NewFromEnv. The doctor
// never writes, and prints no secret. The exit status is 0 if everything is
// fine, 1 if something is wrong, and 2 if that could not be determined.
package main

import (
	"os"

	"github.com/connic-go/connic/contrib/doctor/doctorcmd"
)

func main() { os.Exit(doctorcmd.Main()) } //nolint:forbidigo // it is a program
