// Chat is a conversation with an agent in the terminal. Its answers are printed as
// they are written.
//
//	go run ./chat
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/contrib/chat"
)

func main() {
	fake() // Delete this line to use Connic.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Getenv("CHAT_URL"), connector.Secret(os.Getenv("CHAT_SECRET"))) // from the dashboard
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, url string, secret connector.Secret) error {
	if url == "" || secret == "" {
		return errors.New("set CHAT_URL and CHAT_SECRET to those of a WebSocket connector")
	}
	session, err := chat.Dial(ctx, url, secret)
	if err != nil {
		return err
	}
	return errors.Join(converse(ctx, session, os.Stdin, os.Stdout), session.Close())
}

// converse sends each line of the input, and writes the answers, until the input,
// the session or the context ends.
func converse(ctx context.Context, session *chat.Session, in io.Reader, out io.Writer) error {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(in); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		if _, err := fmt.Fprint(out, "> "); err != nil {
			return err
		}
		select {
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			if line == "" {
				continue
			}
			if err := say(ctx, session, line, out); err != nil {
				return err
			}
		case <-session.Done(): // it was idle for too long, or has had its 100 messages
			return session.Err()
		case <-ctx.Done():
			return nil
		}
	}
}

// say sends a message and writes the answer as it arrives.
func say(ctx context.Context, session *chat.Session, text string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	reply, err := session.Send(ctx, chat.Message{Text: text})
	if err != nil {
		return err
	}
	for chunk, err := range reply.Chunks() {
		if err != nil { // what was written is not the whole answer
			return fmt.Errorf("broken off: %w", err)
		}
		if _, err := fmt.Fprint(out, chunk); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(out)
	return err
}
