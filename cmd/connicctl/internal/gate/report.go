package gate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/jstemmer/go-junit-report/v2/junit"
)

// A report is the result of the gate of a suite.
type report struct {
	app     *cli.App
	suite   string
	results []*Result
	cost    connic.Sums
	took    time.Duration
	err     error // why the gate ended early
}

func count(results []*Result, v Verdict) (n int) {
	for _, result := range results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// verdict summarizes the cases in one line.
func (r *report) verdict() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d cases passed", count(r.results, Passed), len(r.results))
	for _, part := range []struct {
		v    Verdict
		text string
	}{{Failed, "failed"}, {Errored, "without a result"}, {Skipped, "not started"}} {
		if n := count(r.results, part.v); n > 0 {
			fmt.Fprintf(&b, ", %d %s", n, part.text)
		}
	}
	fmt.Fprintf(&b, "; cost %s", r.cost)
	unpriced := 0
	for _, result := range r.results {
		if result.Run != nil && result.Run.Currency == "" {
			unpriced++
		}
	}
	if unpriced > 0 {
		fmt.Fprintf(&b, " and %d runs of unknown cost", unpriced)
	}
	fmt.Fprintf(&b, "; took %v", r.took.Round(100*time.Millisecond))
	return b.String()
}

// failure returns the error of a gate that did not pass. Its exit status is that
// of what kept cases from a verdict, if there are such cases.
func (r *report) failure() error {
	if r.err == nil && count(r.results, Passed) == len(r.results) {
		return nil
	}
	causes := r.causes()
	if len(causes) == 0 {
		return cli.Failed("%s: %s", r.suite, r.verdict())
	}
	return cli.Several(causes, len(r.results), fmt.Errorf("%s: %s", r.suite, r.verdict()))
}

// causes returns what kept cases from a verdict.
func (r *report) causes() (causes []error) {
	if r.err != nil && !errors.Is(r.err, errCost) {
		causes = append(causes, r.err)
	}
	for _, x := range r.results {
		if x.err != nil {
			causes = append(causes, x.err)
		}
	}
	return causes
}

func duration(r *Result) string {
	if r.Run == nil || r.Run.DurationMS <= 0 {
		return ""
	}
	return cli.Duration(r.Run.DurationMS)
}

func cost(r *Result) string {
	if r.Run == nil || r.Run.Currency == "" {
		return ""
	}
	return connic.Money{Amount: r.Run.Cost, Currency: r.Run.Currency}.String()
}

func score(r *Result) string {
	if r.Evaluation == nil || r.Evaluation.MaxScore <= 0 {
		return ""
	}
	return fmt.Sprintf("%v/%v", r.Evaluation.Score, r.Evaluation.MaxScore)
}

func columns() []cli.Column[*Result] {
	return []cli.Column[*Result]{
		{Name: "result", Value: func(r *Result) string { return string(r.Verdict) }, Style: func(r *Result) string {
			switch r.Verdict {
			case Passed:
				return cli.Good
			case Skipped:
				return cli.Note
			default:
				return cli.Bad
			}
		}},
		{Name: "case", Value: func(r *Result) string { return r.Name }},
		{Name: "took", Value: duration},
		{Name: "cost", Value: cost},
		{Name: "score", Value: score},
		{Name: "run", Value: func(r *Result) string { return r.RunID }},
	}
}

// explain says why cases did not pass, without duplicates. With runs it says which
// runs the cases have, which are paid for.
func (r *report) explain(runs bool) {
	for _, x := range r.results {
		if runs && x.RunID != "" {
			r.app.Progress.Say("case %s: run %s", x.Name, x.RunID)
		}
	}
	names := make(map[string][]string)
	var order []*Result
	for _, x := range r.results {
		if x.Why == "" || x.Verdict == Skipped && x.err == nil {
			continue
		}
		if names[x.Why] == nil {
			order = append(order, x)
		}
		names[x.Why] = append(names[x.Why], x.Name)
	}
	const most = 3
	for _, x := range order {
		who := names[x.Why]
		if more := len(who) - most; more > 1 {
			who = append(who[:most:most], fmt.Sprintf("and %d more", more))
		}
		r.app.Progress.Say("%s: %s: %s", x.Verdict, strings.Join(who, ", "), x.Why) // a build may obey the start of a line
	}
	if r.err != nil {
		r.app.Progress.Say("gate %s ended early: %s", r.suite, cli.Message(r.err))
	}
}

// summary writes the report as Markdown, for GITHUB_STEP_SUMMARY.
func (r *report) summary(out io.Writer) error {
	title := "✅ "
	if count(r.results, Passed) != len(r.results) || r.err != nil {
		title = "❌ "
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### %s%s\n\n%s\n\n", title, r.markdown(r.suite), r.markdown(r.verdict()))
	if r.err != nil {
		fmt.Fprintf(&b, "The gate ended early: %s\n\n", r.markdown(cli.Message(r.err)))
	}
	b.WriteString("| | Case | Time | Cost | Score | Why |\n| --- | --- | ---: | ---: | ---: | --- |\n")
	for _, x := range r.results {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", x.Verdict, r.markdown(x.Name), duration(x), r.markdown(cost(x)), score(x), r.markdown(x.Why))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(out, b.String())
	return err
}

// markdown escapes text so that it is displayed literally: as no link, image,
// HTML or table cell.
func (r *report) markdown(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "$", "&#36;", "www.", "www&#46;", "|", "&#124;", "`", "&#96;", "*", "&#42;", "_", "&#95;", "[", "&#91;", "]", "&#93;",
		"\\", "&#92;", "@", "&#64;", "#", "&#35;", "~", "&#126;", "://", "&#58;//", "!", "&#33;").Replace(r.app.Line(strings.TrimSpace(s)))
}

// testsuite returns the report for JUnit XML.
func (r *report) testsuite() junit.Testsuite {
	suite := junit.Testsuite{Name: r.xml(r.suite), Time: fmt.Sprintf("%.3f", r.took.Seconds())}
	suite.AddProperty("cost", r.xml(r.cost.String()))
	if r.err != nil {
		suite.AddProperty("ended early", r.xml(cli.Message(r.err)))
	}
	for _, x := range r.results {
		c := junit.Testcase{Name: r.xml(x.Name), Classname: r.xml(r.suite)}
		if x.Run != nil {
			c.Time = fmt.Sprintf("%.3f", x.Run.DurationMS/1000)
			c.SystemOut = &junit.Output{Data: r.xml(x.Run.Output)}
		}
		about := fmt.Sprintf("run %s, score %s, cost %s", cmp.Or(x.RunID, "unknown"), cmp.Or(score(x), "-"), cmp.Or(cost(x), "-"))
		result := &junit.Result{Message: r.xml(x.Why), Data: r.xml(about)}
		switch x.Verdict {
		case Passed:
		case Failed:
			c.Failure = result
		default: // also if it was not started: builds take what is skipped for good
			c.Error = result
		}
		suite.AddTestcase(c)
	}
	return suite
}

// xml replaces keys, and what XML cannot represent even as an entity. The writer
// does not check CDATA sections.
func (r *report) xml(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r >= 0x20 && r < 0xfffe && r != utf8.RuneError, r >= 0x10000:
			return r
		}
		return '?'
	}, r.app.Text(s))
}

// appendFile appends to a file, as GitHub expects for the summary and the outputs
// of a step.
func appendFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // others read it
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
