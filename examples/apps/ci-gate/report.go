package main

import (
	"cmp"
	"fmt"
	"html"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/apps/internal/progress"
	"github.com/connic-go/connic/internal/mask"
	"github.com/jstemmer/go-junit-report/v2/junit"
)

// A report is the result of a gate.
type report struct {
	suite   string
	results []*Result
	cost    connic.Sums
	took    time.Duration
	err     error // why the gate ended early
}

func (r *report) count(v Verdict) (n int) {
	for _, result := range r.results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// unpriced returns the number of runs that did not report their cost.
func (r *report) unpriced() (n int) {
	for _, result := range r.results {
		if result.Run != nil && result.Run.Currency == "" {
			n++
		}
	}
	return n
}

// verdict summarizes the cases in one line.
func (r *report) verdict() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d cases passed", r.count(Passed), len(r.results))
	for _, part := range []struct {
		v    Verdict
		text string
	}{{Failed, "failed"}, {Errored, "without a result"}, {Skipped, "not started"}} {
		if n := r.count(part.v); n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, part.text)
		}
	}
	fmt.Fprintf(&b, "; cost %s", r.cost)
	if n := r.unpriced(); n > 0 {
		fmt.Fprintf(&b, " and %d runs of unknown cost", n)
	}
	fmt.Fprintf(&b, "; took %v", r.took.Round(100*time.Millisecond))
	return b.String()
}

func duration(r *Result) string {
	if r.Run == nil || r.Run.DurationMS <= 0 {
		return "-"
	}
	return time.Duration(r.Run.DurationMS * float64(time.Millisecond)).Round(100 * time.Millisecond).String()
}

func cost(r *Result) string {
	if r.Run == nil || r.Run.Currency == "" {
		return "-"
	}
	return connic.Money{Amount: r.Run.Cost, Currency: r.Run.Currency}.String()
}

func score(r *Result) string {
	if r.Evaluation == nil || r.Evaluation.MaxScore <= 0 {
		return "-"
	}
	return fmt.Sprintf("%v/%v", r.Evaluation.Score, r.Evaluation.MaxScore)
}

// line makes text from an agent safe for a terminal, and for builds that
// interpret commands at the start of a line.
func line(s string) string { return progress.Clean(strings.TrimSpace(s)) }

// table writes the report as text.
func (r *report) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "RESULT\tCASE\tTIME\tCOST\tSCORE\tRUN")
	for _, x := range r.results {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", x.Verdict, line(x.Case.Name), duration(x), cost(x), score(x), cmp.Or(line(x.RunID), "-"))
	}
	_ = w.Flush()
	for _, reason := range r.reasons() {
		_, _ = fmt.Fprintf(out, "\n%s\n", reason)
	}
	if r.err != nil {
		_, _ = fmt.Fprintf(out, "\nThe gate ended early: %s\n", line(r.err.Error()))
	}
	_, err := fmt.Fprintf(out, "\n%s\n", line(r.verdict()))
	return err
}

// reasons returns why cases did not pass, without duplicates.
func (r *report) reasons() (all []string) {
	names := make(map[string][]string)
	var order []string
	for _, x := range r.results {
		if x.Why == "" || x.Verdict == Skipped {
			continue
		}
		if names[x.Why] == nil {
			order = append(order, x.Why)
		}
		names[x.Why] = append(names[x.Why], line(x.Case.Name))
	}
	const most = 3
	for _, why := range order {
		who := names[why]
		if more := len(who) - most; more > 1 {
			who = append(who[:most:most], fmt.Sprintf("and %d more", more))
		}
		all = append(all, strings.Join(who, ", ")+": "+line(why))
	}
	return all
}

// summary writes the report as Markdown, for GITHUB_STEP_SUMMARY.
func (r *report) summary(out io.Writer) error {
	title := "✅ "
	if r.count(Passed) != len(r.results) || r.err != nil {
		title = "❌ "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s%s\n\n%s\n\n", title, markdown(r.suite), markdown(r.verdict()))
	if r.err != nil {
		fmt.Fprintf(&b, "The gate ended early: %s\n\n", markdown(r.err.Error()))
	}
	b.WriteString("| | Case | Time | Cost | Score | Why |\n| --- | --- | ---: | ---: | ---: | --- |\n")
	for _, x := range r.results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", x.Verdict, markdown(x.Case.Name), duration(x), markdown(cost(x)), score(x), markdown(x.Why))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(out, b.String())
	return err
}

// markdown escapes text so that it is displayed literally: as no link, image,
// HTML or table cell.
func markdown(s string) string {
	s = html.EscapeString(line(s))
	return strings.NewReplacer("|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "]", "&#93;",
		"\\", "&#92;", "@", "&#64;", "#", "&#35;", "~", "&#126;", "://", "&#58;//", "!", "&#33;").Replace(s)
}

// junit writes the report as JUnit XML.
func (r *report) junit(out io.Writer) error {
	suite := junit.Testsuite{Name: xmlText(r.suite), Time: fmt.Sprintf("%.3f", r.took.Seconds())}
	suite.AddProperty("cost", r.cost.String())
	if r.err != nil {
		suite.AddProperty("ended early", xmlText(r.err.Error()))
	}
	for _, x := range r.results {
		c := junit.Testcase{Name: xmlText(x.Case.Name), Classname: xmlText(r.suite)}
		if x.Run != nil {
			c.Time = fmt.Sprintf("%.3f", x.Run.DurationMS/1000)
			c.SystemOut = &junit.Output{Data: xmlText(x.Run.Output)}
		}
		result := &junit.Result{Message: xmlText(x.Why), Data: xmlText(strings.TrimSpace("run " + cmp.Or(x.RunID, "unknown") + ", score " + score(x) + ", cost " + cost(x)))}
		switch x.Verdict {
		case Passed:
		case Failed:
			c.Failure = result
		case Skipped:
			c.Skipped = result
		default:
			c.Error = result
		}
		suite.AddTestcase(c)
	}
	all := junit.Testsuites{Name: suite.Name, Time: suite.Time}
	all.AddSuite(suite)
	return all.WriteXML(out)
}

// xmlText removes keys, and what XML cannot represent even as an entity. The writer does
// not check CDATA sections.
func xmlText(s string) string {
	s = mask.Text(s)
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r >= 0x20 && r < 0xfffe && r != utf8.RuneError, r >= 0x10000:
			return r
		}
		return '?'
	}, s)
}

// replaceFile replaces a file atomically.
func replaceFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Chmod(0o644); err != nil { // others read it, unlike a temporary file
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// appendFile appends to a file, as GitHub expects for the summary of a step.
func appendFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}
