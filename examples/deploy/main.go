// Deploy deploys a folder with agents and waits until they serve. It is a step of
// a pipeline: the exit code is 1 if they do not.
//
//	go run ./examples/deploy
//	go run ./examples/deploy ./my-project
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/examples/internal/service"
)

func main() {
	service.Fake() // Delete this line to use Connic.
	folder := "examples/deploy/project"
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	client, err := connic.NewFromEnv(connic.WithApplication("deploy", "1.0")) // also reads CONNIC_ENVIRONMENT
	if err == nil {
		err = errors.Join(deploy(ctx, client, os.DirFS(folder), os.Stdout), client.Close())
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "deploy:", err)
		os.Exit(1)
	}
}

func deploy(ctx context.Context, client *connic.Client, folder fs.FS, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	d, err := client.Deployments.UploadFS(ctx, folder, nil)
	var refused *connic.ArchiveError
	switch {
	case errors.As(err, &refused): // nothing was sent
		return fmt.Errorf("the folder cannot be deployed: %w", err)
	case errors.Is(err, connic.ErrOutcomeUnknown):
		return fmt.Errorf("it may have been accepted: look at the deployments before you try again: %w", err)
	case err != nil:
		return err
	}
	if _, err := fmt.Fprintf(w, "accepted as %s; not sent: %s\n", d.ID, cmp.Or(strings.Join(d.LeftOut, ", "), "nothing")); err != nil {
		return err
	}
	phase := ""
	d, err = client.Deployments.Wait(ctx, d.ID, connic.WithProgress(func(e connic.WaitEvent) {
		if now := strings.TrimSpace(e.Status + " " + e.Phase); e.Err == nil && now != phase {
			phase = now
			_, _ = fmt.Fprintf(w, "%3.0f s  %s\n", e.After.Seconds(), now)
		}
	}))
	if err != nil {
		return err // a *connic.WaitError if the deployment goes on without us
	}
	_, err = fmt.Fprintf(w, "deployed: %s\n", strings.Join(d.Agents, ", "))
	return err
}
