// Consumer is a program that imports only the client.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/connic-go/connic"
)

func main() {
	client, err := connic.NewFromEnv()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	run, err := client.Runs.Get(context.Background(), os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(run.Output)
}
