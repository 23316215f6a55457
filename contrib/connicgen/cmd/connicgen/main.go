// Connicgen generates Go types for the agents of a project, from their schemas.
//
//	connicgen ./agents-project -o agents_gen.go -package agents
//
// It exits with 0, with 1 if -check finds the file stale or missing, and with 2 if
// the project or the arguments are wrong.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/connic-go/connic/contrib/connicgen/internal/gen"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stderr)) //nolint:forbidigo // the exit code is what -check is for
}

const usage = `usage: connicgen [flags] PROJECT

PROJECT is the folder of the project, with the folder agents in it.

`

func run(args []string, stderr io.Writer) int {
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(stderr, "connicgen: "+format+"\n", args...) }
	flags := flag.NewFlagSet("connicgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	o := gen.Options{Names: make(map[string]string)}
	output := flags.String("o", "agents_gen.go", "the `file` to write")
	flags.StringVar(&o.Package, "package", "agents", "the name of its `package`")
	check := flags.Bool("check", false, "write nothing, and exit with 1 if the file is not up to date")
	strict := flags.Bool("strict", false, "take warnings for errors")
	flags.Func("name", "`WHAT=GoName` chooses a name: WHAT is a file, such as schemas/x.json, or a place in it, such as schemas/x.json#/properties/a_b", func(value string) error {
		i := strings.LastIndexByte(value, '=')
		if i < 0 {
			return errors.New("it has no =")
		}
		o.Names[value[:i]] = value[i+1:]
		return nil
	})
	// The folder may stand before the flags.
	var folders []string
	for rest := args; ; {
		if err := flags.Parse(rest); errors.Is(err, flag.ErrHelp) {
			return 0
		} else if err != nil {
			return 2
		}
		if flags.NArg() == 0 {
			break
		}
		folders, rest = append(folders, flags.Arg(0)), flags.Args()[1:]
	}
	if len(folders) != 1 {
		flags.Usage()
		return 2
	}
	result, err := gen.Generate(os.DirFS(folders[0]), o)
	for _, warning := range result.Warnings {
		say("warning: %s", warning)
	}
	switch {
	case err != nil:
		say("%s", strings.ReplaceAll(err.Error(), "\n", "\nconnicgen: "))
		return 2
	case *strict && len(result.Warnings) > 0:
		return 2
	}
	old, err := os.ReadFile(*output)
	old = bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")) // as git may check it out
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		say("%v", err)
		return 2
	case *check && err != nil:
		say("%s is missing", *output)
		return 1
	case bytes.Equal(old, result.Code):
		return 0
	case *check:
		line, is, want := difference(old, result.Code)
		say("%s:%d: it is stale: the line is %q and would be %q", *output, line, is, want)
		return 1
	}
	if len(old) > 0 && !bytes.HasPrefix(old, []byte(gen.Header)) {
		say("%s is not overwritten: it does not begin with %q", *output, gen.Header)
		return 2
	}
	if err := os.WriteFile(*output, result.Code, 0o644); err != nil { //nolint:gosec // it is source, and has no secrets
		say("%v", err)
		return 2
	}
	return 0
}

// difference returns the first line that differs.
func difference(a, b []byte) (line int, is, want string) {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for line = range max(len(x), len(y)) {
		is, want = "", ""
		if line < len(x) {
			is = x[line]
		}
		if line < len(y) {
			want = y[line]
		}
		if is != want {
			break
		}
	}
	return line + 1, is, want
}
