// Package gencmd has the command that generates types, for the programs connicgen
// and connicctl. It is not for others, and may change with any release.
package gencmd

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

const usage = `usage: connicgen [flags] PROJECT

PROJECT is the folder of the project, with the folder agents in it.

`

// A StaleError says that a file is not what would be generated.
type StaleError struct{ error }

// Main runs the program connicgen with the arguments of the process, and returns
// its exit status.
func Main() int { return run(os.Args[1:], os.Stderr) }

func run(args []string, stderr io.Writer) int {
	say := func(text string) {
		_, _ = fmt.Fprintln(stderr, "connicgen: "+strings.ReplaceAll(text, "\n", "\nconnicgen: "))
	}
	flags := flag.NewFlagSet("connicgen", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	generate := New(flags, say)
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
	err := generate(folders[0])
	if err == nil {
		return 0
	}
	say(err.Error())
	if errors.As(err, new(StaleError)) {
		return 1
	}
	return 2
}

// New defines the flags of the command, and returns what generates the types of the
// project in a folder. It says warnings. The error is a [StaleError] if the flag
// check is set and the file is not up to date; all others are in the project or in
// the flags.
func New(flags *flag.FlagSet, say func(text string)) func(folder string) error {
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
	return func(folder string) error {
		if _, err := os.Stat(folder); err != nil {
			return err // with its name
		}
		result, err := gen.Generate(os.DirFS(folder), o)
		for _, warning := range result.Warnings {
			say("warning: " + warning)
		}
		switch {
		case err != nil:
			return err
		case *strict && len(result.Warnings) > 0:
			return errors.New("there are warnings, and --strict takes them for errors")
		}
		return write(*output, result.Code, *check)
	}
}

// write writes a file that the program has generated before, or that is not there.
func write(name string, code []byte, check bool) error {
	info, err := os.Stat(name)
	device := err == nil && !info.Mode().IsRegular() && !info.IsDir() // has nothing to be compared with
	var old []byte
	if err == nil && !device {
		old, err = os.ReadFile(name)                              //nolint:gosec // the user names it
		old = bytes.ReplaceAll(old, []byte("\r\n"), []byte("\n")) // as git may check it out
	}
	switch {
	case check && device:
		return fmt.Errorf("%s is no regular file", name)
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case check && err != nil:
		return StaleError{fmt.Errorf("%s is missing", name)}
	case bytes.Equal(old, code):
		return nil
	case check:
		line, is, want := difference(old, code)
		return StaleError{fmt.Errorf("%s:%d: it is stale: the line is %q and would be %q", name, line, is, want)}
	case len(old) > 0 && !bytes.HasPrefix(old, []byte(gen.Header)):
		return fmt.Errorf("%s is not overwritten: it does not begin with %q", name, gen.Header)
	}
	return os.WriteFile(name, code, 0o644) //nolint:gosec // it is source, and has no secrets
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
