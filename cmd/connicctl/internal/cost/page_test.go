package cost

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

const hostile = `</script><img src="https://evil.example/x" onerror=alert(1)><!--`

// The page loads nothing, and runs no script but its own, whatever agents are
// called.
func TestPage(t *testing.T) {
	t.Parallel()
	fake := connictest.New()
	defer fake.Close()
	fake.Agent("support", nil)
	fake.Usage(row("2026-11-02", hostile, "env-production", "0.125", "EUR"), row("2026-11-03", "support", "env-test", "3", "USD"))
	client := fake.Client()
	for _, amount := range []string{"0.2", "5000"} {
		if _, err := client.Budgets.Create(t.Context(), connic.BudgetCreate{
			Name: "B " + amount + hostile, Kind: connic.BudgetAlert, Scope: connic.BudgetGlobal, Period: connic.BudgetDaily,
			Amount: connic.MustDecimal(amount), Currency: connic.EUR,
		}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := collect(t.Context(), client, november, "")
	if err != nil {
		t.Fatal(err)
	}
	page := text(t, r.writeHTML)
	page, found := cutOut(page, library)
	if !found {
		t.Fatal("the library is not in the page")
	}
	if strings.Contains(page, "evil.example/x\"") || strings.Contains(page, "<img") {
		t.Error("a name became markup")
	}
	for _, tag := range regexp.MustCompile(`<[A-Za-z][^>]*>`).FindAllString(page, -1) {
		if regexp.MustCompile(`(?i)\s(src|href|action|srcset|data|on\w+)\s*=|<(iframe|object|embed|base|form)`).MatchString(tag) {
			t.Errorf("the page refers to something else: %s", tag)
		}
	}
	if got := regexp.MustCompile(`@import|url\(`).FindString(style); got != "" {
		t.Errorf("the style refers to something else: %q", got)
	}
	for _, want := range []string{
		`content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-`,
		"0.125 EUR", "3 USD", "Not drawn, since it is far above: B 5000",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing", want)
		}
	}
	options := regexp.MustCompile(`(?s)<script type="application/json">(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(options) != 4 {
		t.Fatalf("%d charts, want 2 for each currency", len(options))
	}
	var day struct {
		Series []struct {
			Name string
			Data []struct{ Value json.Number }
			Mark struct {
				Data []struct{ YAxis json.Number }
			} `json:"markLine"`
		}
	}
	if err := json.Unmarshal([]byte(options[0][1]), &day); err != nil {
		t.Fatal(err)
	}
	s := day.Series[0]
	if len(s.Data) != 30 || s.Data[1].Value != "0.125" || !strings.HasPrefix(s.Name, "</script>") {
		t.Errorf("the chart has %+v", s)
	}
	if len(s.Mark.Data) != 1 || s.Mark.Data[0].YAxis != "0.2" {
		t.Errorf("the budgets are %+v, want the one of 0.2", s.Mark.Data)
	}
}

func cutOut(s, part string) (string, bool) {
	before, after, found := strings.Cut(s, part)
	return before + after, found
}

// The policy names the scripts by their hash: each must stand in the page byte by
// byte.
func TestPolicy(t *testing.T) {
	t.Parallel()
	fake := connictest.New(t)
	r, err := collect(t.Context(), fake.Client(), november, "")
	if err != nil {
		t.Fatal(err)
	}
	page := text(t, r.writeHTML)
	policy := regexp.MustCompile(`Policy" content="([^"]*)"`).FindStringSubmatch(page)
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(page, -1)
	if len(policy) != 2 || len(scripts) != 2 {
		t.Fatalf("%d policies and %d scripts, want 1 and 2", len(policy)-1, len(scripts))
	}
	allowed := strings.NewReplacer("&#39;", "'", "&#43;", "+").Replace(policy[1])
	for _, s := range scripts {
		if want := source(s[1]); !strings.Contains(allowed, want) {
			t.Errorf("%s is not allowed by %s", want, allowed)
		}
	}
}

// Series of the same name would be one in a chart.
func TestLabels(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40)
	got := labels([]string{"support", long + "1" + long, long + "2" + long, "an agent that is called something long: 1", "an agent that is called something long: 2"}, 32)
	if len(slices.Compact(slices.Sorted(slices.Values(got)))) != 5 {
		t.Errorf("got %q", got)
	}
	for _, label := range got {
		if n := len([]rune(label)); n > 32 {
			t.Errorf("%q has %d characters", label, n)
		}
	}
}
