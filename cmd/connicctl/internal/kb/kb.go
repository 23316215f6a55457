// Package kb has the commands for knowledge.
package kb

import (
	"context"
	"fmt"
	"iter"
	"strconv"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/cmd/connicctl/internal/cli"
	"github.com/spf13/cobra"
)

// Command returns the command kb.
func Command(a *cli.App) *cobra.Command {
	return cli.Group("kb", "List, search and change knowledge",
		list(a), get(a), search(a), syncFolder(a), remove(a))
}

// connect returns a client, and the environment whose knowledge is meant: that of
// --env, of CONNIC_ENVIRONMENT, or else the default one of the project, which costs
// a request.
func connect(ctx context.Context, a *cli.App, opts ...connic.Option) (*connic.Client, string, error) {
	client, err := a.Client(ctx, opts...)
	if err != nil {
		return nil, "", err
	}
	if id := a.EnvironmentID(); id != "" {
		return client, id, nil
	}
	e, err := client.Environments.Default(ctx)
	if err != nil {
		return nil, "", fmt.Errorf("the default environment cannot be found, name one with --env: %w", err)
	}
	return client, e.ID, nil
}

func list(a *cli.App) *cobra.Command {
	var p connic.EntryListParams
	var limit int
	cmd := &cobra.Command{
		Use:               "list",
		Short:             "List entries",
		Long:              "List the entries of a namespace and of those below it, or of all. It costs one\nrequest per 100 entries, and one to find the default environment without --env.",
		Example:           "  connicctl kb list --namespace docs\n  connicctl kb list -n 0 -o jsonl | jq -r .entry_id",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if limit < 0 {
				return cli.Usage("--limit is negative")
			}
			client, environment, err := connect(cmd.Context(), a, connic.WithReadOnly())
			if err != nil {
				return err
			}
			p.EnvironmentID, p.Limit = environment, min(limit, 100)
			return cli.List(a, first(limit, client.Knowledge.All(cmd.Context(), &p)), columns(a)...)
		},
	}
	cmd.Flags().StringVar(&p.Namespace, "namespace", "", "only entries of this `namespace` and those below it")
	cmd.Flags().IntVarP(&limit, "limit", "n", 50, "list at most this `number` of entries; 0 means all")
	return cmd
}

// first returns the first n items of a list; 0 means all.
func first[T any](n int, items iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		count := 0
		for item, err := range items {
			if count++; !yield(item, err) || count == n {
				return
			}
		}
	}
}

func columns(a *cli.App) []cli.Column[*connic.Entry] {
	return []cli.Column[*connic.Entry]{
		{Name: "namespace", Value: func(e *connic.Entry) string { return e.Namespace }},
		{Name: "id", Value: func(e *connic.Entry) string { return e.EntryID }, Whole: true},
		{Name: "source", Value: func(e *connic.Entry) string { return e.Source }},
		{Name: "chunks", Value: func(e *connic.Entry) string {
			if e.ChunkCount == 0 {
				return ""
			}
			return strconv.Itoa(e.ChunkCount)
		}},
		{Name: "updated", Value: func(e *connic.Entry) string {
			if e.UpdatedAt.IsZero() {
				return a.Time(e.CreatedAt)
			}
			return a.Time(e.UpdatedAt)
		}},
	}
}

func get(a *cli.App) *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:               "get ENTRY",
		Short:             "Show an entry and its content",
		Long:              "Show an entry and its content. It costs one request, and one to find the default\nenvironment without --env.",
		Example:           "  connicctl kb get returns.md --namespace docs\n  connicctl kb get returns.md --namespace docs -o json | jq -r .content",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			client, environment, err := connect(cmd.Context(), a, connic.WithReadOnly())
			if err != nil {
				return err
			}
			entry, err := client.Knowledge.Get(cmd.Context(), args[0], &connic.EntryParams{EnvironmentID: environment, Namespace: namespace})
			if err != nil {
				return err
			}
			return cli.Item(a, entry, append(columns(a),
				cli.Column[*connic.Entry]{Name: "metadata", Value: func(e *connic.Entry) string { return string(e.Metadata) }},
				cli.Column[*connic.Entry]{Name: "content", Block: true, Value: func(e *connic.Entry) string { return e.Content }})...)
		},
	}
	cmd.Flags().StringVar(&namespace, "namespace", "", "the `namespace` of the entry")
	return cmd
}

func search(a *cli.App) *cobra.Command {
	var q connic.KnowledgeQuery
	cmd := &cobra.Command{
		Use:   "search QUERY",
		Short: "Find the knowledge that is closest to a text",
		Long: `Find the knowledge that is closest to a text, best match first. The text may be
@file, or - for standard input. It costs one request, and one to find the default
environment without --env.`,
		Example: `  connicctl kb search "How long may I keep the goods?" --namespace docs
  connicctl kb search returns --filter '{"team": {"$eq": "sales"}}' -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.Input(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			client, environment, err := connect(cmd.Context(), a, connic.WithReadOnly())
			if err != nil {
				return err
			}
			q.Query, q.EnvironmentID = string(text), environment
			page, err := client.Knowledge.Query(cmd.Context(), q)
			if err != nil {
				return err
			}
			return cli.List(a, func(yield func(*connic.Match, error) bool) {
				for _, m := range page.Items {
					if !yield(m, nil) {
						return
					}
				}
			},
				cli.Column[*connic.Match]{Name: "score", Value: func(m *connic.Match) string { return strconv.FormatFloat(m.Score, 'f', 2, 64) }},
				cli.Column[*connic.Match]{Name: "namespace", Value: func(m *connic.Match) string { return m.Namespace }},
				cli.Column[*connic.Match]{Name: "id", Value: func(m *connic.Match) string { return m.EntryID }, Whole: true},
				cli.Column[*connic.Match]{Name: "content", Value: func(m *connic.Match) string { return m.Content }})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.Namespace, "namespace", "", "search in this `namespace`")
	flags.Float64Var(&q.MinScore, "min-score", 0, "the lowest `relevance`, from 0 to 1 (default: that of the service)")
	flags.BoolVar(&q.AnyScore, "any-score", false, "find matches of any relevance")
	flags.IntVarP(&q.MaxResults, "limit", "n", 0, "find at most this `number` of matches, up to 20 (default: that of the service)")
	flags.TextVar(&q.Filter, "filter", connic.Filter{}, "select entries by metadata, with this `JSON`")
	return cmd
}

func remove(a *cli.App) *cobra.Command {
	var namespace string
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "rm ENTRY...",
		Short: "Delete entries, or a namespace",
		Long: `Delete entries, or with --all the whole namespace. It asks on a terminal, and needs
--yes elsewhere. It costs one request per entry or one for the namespace, and one to
find the default environment without --env. Ctrl-C leaves the rest.`,
		Example: `  connicctl kb rm returns.md shipping.md --namespace docs
  connicctl kb rm --all --namespace drafts --yes`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return cli.Usage("--all and entries cannot be deleted together")
			case all && namespace == "":
				return cli.Usage("--all needs --namespace")
			case !all && len(args) == 0:
				return cli.Usage("name entries, or --all")
			}
			question := fmt.Sprintf("Delete %d entries?", len(args))
			switch {
			case all:
				question = "Delete all entries of namespace " + namespace + "?"
			case len(args) == 1:
				question = "Delete entry " + args[0] + "?"
			}
			if err := a.Confirm(cmd.Context(), yes, question); err != nil {
				return err
			}
			client, environment, err := connect(cmd.Context(), a)
			if err != nil {
				return err
			}
			if all {
				err := client.Knowledge.DeleteNamespace(cmd.Context(), namespace, &connic.KnowledgeParams{EnvironmentID: environment})
				if err == nil {
					a.Progress.Say("namespace %s is deleted", namespace)
				}
				return err
			}
			var failed []error
			for _, id := range args {
				err := client.Knowledge.Delete(cmd.Context(), id, &connic.EntryParams{EnvironmentID: environment, Namespace: namespace})
				switch {
				case err == nil:
					a.Progress.Say("%s is deleted", id)
				case cmd.Context().Err() != nil:
					return err
				default:
					failed = append(failed, fmt.Errorf("%s: %w", id, err))
				}
			}
			return a.Failures(failed, len(args))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&namespace, "namespace", "", "the `namespace` of the entries")
	flags.BoolVar(&all, "all", false, "delete the namespace with all that is in it")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
