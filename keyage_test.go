package connic

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A key that is replaced while calls stand in line is not sent any more, and a
// source that fails or hangs by then holds no place for longer than a second.
func TestKeysThatAreReplacedInLine(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]func(ctx context.Context) error{
		"in time": func(context.Context) error { return nil },
		"fails":   func(context.Context) error { return errors.New("no key") },
		"hangs": func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			var mu sync.Mutex
			oldest := time.Duration(0)
			c := newTestClient(t, func(r *http.Request) (*http.Response, error) {
				made, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer cnc_"))
				if err != nil {
					return nil, err
				}
				mu.Lock()
				defer mu.Unlock()
				oldest = max(oldest, time.Since(made))
				return respond(200, `{"id": "r1", "status": "completed"}`), nil
			}, WithKeySource(KeySourceFunc(func(ctx context.Context) (APIKey, error) {
				if time.Since(start) > 30*time.Second { // the first key was given to all
					if err := source(ctx); err != nil {
						return "", err
					}
				}
				return APIKey("cnc_" + time.Now().UTC().Format(time.RFC3339Nano)), nil
			})))
			var calls sync.WaitGroup
			for range 600 {
				calls.Go(func() {
					if _, err := c.Runs.Get(t.Context(), "r1"); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if took := time.Since(start); took > 10*time.Minute || (name == "in time") != (oldest <= 5*time.Second) {
				t.Errorf("%s: it took %v, and the oldest key was %v old", name, took, oldest)
			}
		})
	}
}
