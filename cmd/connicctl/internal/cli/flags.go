package cli

import (
	"errors"
	"flag"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TimeFlag returns a flag whose value is a time, a day, or a time before now such
// as 90m, 24h or 7d. A time without a zone is one of the zone that tables have.
func (a *App) TimeFlag(at *time.Time) pflag.Value { return &timeFlag{at, a.Location} }

type timeFlag struct {
	at   *time.Time
	zone *time.Location
}

func (f *timeFlag) Type() string { return "time" }

func (f *timeFlag) String() string {
	if f.at == nil || f.at.IsZero() {
		return ""
	}
	return f.at.Format(time.RFC3339)
}

// Set parses a value.
func (f *timeFlag) Set(s string) error {
	for _, layout := range []string{time.RFC3339, time.DateOnly, time.DateTime} {
		if at, err := time.ParseInLocation(layout, s, f.zone); err == nil {
			*f.at = at
			return nil
		}
	}
	ago, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		ago = time.Duration(min(n, 100*365+1)) * 24 * time.Hour // without an overflow
	}
	if err != nil || ago < 0 || ago > 100*365*24*time.Hour {
		return errors.New("not a time such as 2026-10-01, 2026-10-01T12:00:00Z, 2h or 7d")
	}
	*f.at = time.Now().Add(-ago)
	return nil
}

// Duration returns a number of milliseconds as text for people.
func Duration(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// CompleteFlag has the values of a flag completed as [App.Complete] does.
func (a *App) CompleteFlag(cmd *cobra.Command, flag string, kind Kind) {
	if err := cmd.RegisterFlagCompletionFunc(flag, a.Complete(kind)); err != nil {
		panic(err) //nolint:forbidigo // the command has no such flag
	}
}

// GoFlags adds the flags of a program that uses package flag. A flag o is
// --output, in place of that of the tool.
func GoFlags(cmd *cobra.Command, set *flag.FlagSet) {
	set.VisitAll(func(f *flag.Flag) {
		added := pflag.PFlagFromGoFlag(f)
		added.Value = goFlag{added.Value, set, f.Name}
		switch added.Name {
		case "o":
			added.Name, added.Shorthand = "output", "o"
		case "quiet":
			added.Shorthand = "q"
		}
		cmd.Flags().AddFlag(added)
	})
}

// A goFlag is set through its set, which then knows that it was given.
type goFlag struct {
	pflag.Value

	set  *flag.FlagSet
	name string
}

// Set parses a value.
func (f goFlag) Set(s string) error { return f.set.Set(f.name, s) }
