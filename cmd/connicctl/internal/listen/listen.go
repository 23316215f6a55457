// Package listen has the command that posts finished runs to a local URL.
package listen

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/connic-go/connic/cmd/connicctl/internal/runs"
	"github.com/connic-go/connic/connector"
	"github.com/spf13/cobra"
)

// signingVariable is the environment variable with the secret.
const signingVariable = "CONNIC_WEBHOOK_SECRET"

// Command returns the command listen.
func Command(a *cli.App) *cobra.Command { return command(a, nil) }

// command returns the command with the transport of deliveries; nil means its own.
func command(a *cli.App, transport http.RoundTripper) *cobra.Command {
	var p connic.RunListParams
	var target, secretFile string
	f := forwarder{transport: transport}
	cmd := &cobra.Command{
		Use:   "listen --forward URL",
		Short: "Post finished runs to a URL of this machine, signed as a connector signs",
		Long: `Post each run that ends to a URL of this machine, in the form and with the
signature of an outbound connector: webhooks without a tunnel. Only completed runs
are posted, as a connector does, unless --status is set. Other deliveries, such as
payloads of tools and notices of approvals, are not: the API does not list them.

It looks for runs 5 s after one has ended, and then less and less often, up to every
30 s, at one request a look. A completed run that is listed without its output is
read again, at one request.

Runs are posted one after the other, each once. A delivery that fails is repeated:
after no response within 30 s, 408, 429 and 5xx, with a new timestamp. It is given
up after --retries repetitions, 1 s, 2 s, 4 s and so on apart; redirects are not
followed. Whether the service repeats deliveries is not documented. A program that
must not act twice recognizes the run id, as the Receiver of package connector does.

The secret is that of CONNIC_WEBHOOK_SECRET or --secret-file. Without one, a random
secret is made and shown once, on standard error. URLs of other machines need
--allow-remote, because the outputs of the runs leave this machine.

Ctrl-C ends it, with exit status 130, and shows where to go on. Failed deliveries do
not end it, and do not change the exit status: look at "delivered".`,
		Example: `  CONNIC_WEBHOOK_SECRET=… connicctl listen --forward http://localhost:8080/hooks/connic
  connicctl listen --forward http://localhost:8080/ --agent invoices --since 1h -o jsonl`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.retries < 0 {
				return cli.Usage("--retries is negative")
			}
			if err := f.to(target); err != nil {
				return err
			}
			secret, made, err := secretOf(a, secretFile)
			if err != nil {
				return err
			}
			f.secret = secret
			client, err := a.Client(cmd.Context(), connic.WithReadOnly())
			if err != nil {
				return err
			}
			defer f.close()
			p.EnvironmentID = a.EnvironmentID()
			if len(p.Status) == 0 {
				p.Status = []connic.RunStatus{connic.RunCompleted}
			}
			if made {
				a.Progress.Say("the signing secret until this command ends: %s", string(secret))
			}
			a.Progress.Say("posting runs to %s; Ctrl-C ends it", target)
			return f.run(cmd.Context(), a, client, &p)
		},
	}
	runs.Filter(a, cmd, &p)
	flags := cmd.Flags()
	flags.StringVar(&target, "forward", "", "post to this `URL`")
	flags.StringVar(&secretFile, "secret-file", "", "read the signing secret from this `file`")
	flags.BoolVar(&f.remote, "allow-remote", false, "allow the URL of another machine")
	flags.IntVar(&f.retries, "retries", 3, "repeat a failed delivery this `number` of times")
	if err := cmd.MarkFlagRequired("forward"); err != nil {
		panic(err) //nolint:forbidigo // there is no such flag
	}
	return cmd
}

// secretOf returns the secret, and whether it was made.
func secretOf(a *cli.App, file string) (secret connector.Secret, made bool, err error) {
	text := strings.TrimSpace(a.Getenv(signingVariable))
	if file != "" {
		data, err := a.ReadFile(file)
		if err != nil {
			return "", false, cli.Usage("the secret cannot be read: %w", err)
		}
		if text = strings.TrimSpace(string(data)); text == "" {
			return "", false, cli.Usage("the file of the secret is empty")
		}
	}
	if text == "" {
		return connector.Secret("whsec_" + rand.Text()), true, nil
	}
	secret = connector.Secret(text)
	header := connector.Sign(nil, time.Now(), secret)
	if connector.Verify(header, nil, secret) != nil {
		return "", false, cli.Usage("the secret cannot be used: it is the printed form of one")
	}
	return secret, false, nil
}

func columns(a *cli.App) []cli.Column[delivery] {
	return []cli.Column[delivery]{
		{Name: "at", Value: func(d delivery) string { return a.Time(d.At) }, Width: 19},
		{Name: "run", Value: func(d delivery) string { return d.RunID }, Width: 36, Whole: true},
		{Name: "agent", Value: func(d delivery) string { return d.AgentName }, Width: 20},
		{Name: "status", Value: func(d delivery) string { return string(d.Status) }, Width: 9},
		{Name: "http", Value: func(d delivery) string {
			if d.HTTPStatus == 0 {
				return ""
			}
			return strconv.Itoa(d.HTTPStatus)
		}, Style: style, Width: 4},
		{Name: "attempts", Value: func(d delivery) string { return strconv.Itoa(d.Attempts) }, Width: 8},
		{Name: "error", Value: func(d delivery) string { return d.Error }, Style: style, Width: 40},
	}
}

func style(d delivery) string {
	if d.Delivered {
		return cli.Good
	}
	return cli.Bad
}
