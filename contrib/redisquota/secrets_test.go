package redisquota

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/leaktest"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"
)

// stores are clients with a password, by how they have it.
func stores(password string) map[string]redis.UniversalClient {
	const at = "127.0.0.1:1"
	return map[string]redis.UniversalClient{
		"client":  redis.NewClient(&redis.Options{Addr: at, Password: password}),
		"cluster": redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{at}, Password: password}),
		"ring":    redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": at}, Password: password}),
		"provider": redis.NewClient(&redis.Options{Addr: at, CredentialsProvider: func() (string, string) {
			return "user", password
		}}),
		"provider with a context": redis.NewClient(&redis.Options{Addr: at, CredentialsProviderContext: func(context.Context) (string, string, error) {
			return "user", password, nil
		}}),
		"stream":                redis.NewClient(&redis.Options{Addr: at, StreamingCredentialsProvider: stream{}}),
		"provider of a cluster": redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{at}, CredentialsProvider: func() (string, string) { return "user", password }}),
		"provider of a ring":    redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": at}, CredentialsProvider: func() (string, string) { return "user", password }}),
		"sentinel":              redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "m", SentinelAddrs: []string{at}, SentinelPassword: password}),
		"another":               struct{ redis.UniversalClient }{redis.NewClient(&redis.Options{Addr: at, Password: password})},
	}
}

type stream struct{}

func (stream) Subscribe(auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	return nil, nil, errors.ErrUnsupported
}

// The password of the store shows nowhere, whatever its length and however the
// client has it: errors of the store, of dialers and of hooks repeat it.
func TestThePasswordShowsNowhere(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"correct-horse-battery", "Zk7qXw12", "pw-1"} {
		spellings := map[string]string{
			"URL": "cannot dial redis://default:" + password + "@store:6379\nat all", "command": "ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `" + password + "`",
			"cut": "ERR unknown command " + password[:len(password)*3/4], "base64": "bad " + base64.StdEncoding.EncodeToString([]byte("default:"+password)), "hexadecimal": fmt.Sprintf("no %x", password),
		}
		for spelling, text := range spellings {
			cause := errors.New(text)
			for name, rdb := range stores(password) {
				t.Run(password+"/"+spelling+"/"+name, func(t *testing.T) {
					t.Parallel()
					defer rdb.Close()
					rdb.AddHook(failing{cause})
					events := make(chan Event, 10)
					l := newLimiter(t, rdb, 10, time.Second, WithObserver(func(e Event) { events <- e }))
					l.Release(acquire(t, l, connic.LaneCall), answered)
					event := <-events
					var r leaktest.Record
					r.Print(event, event.Err, l.Status(), l.Status().Fallback)
					r.Reach(event)
					shown := r.String()
					if len(password) >= 8 {
						if where := leaktest.For(password).In(shown); where != "" {
							t.Errorf("%s", where)
						}
					} else if strings.Contains(shown, password) || strings.Contains(shown, password[:3]) || strings.Contains(shown, text[len(text)-8:]) {
						t.Errorf("%s", shown)
					}
					if !errors.Is(event.Err, cause) || strings.Contains(l.Status().Fallback, "\n") {
						t.Errorf("%v, %q", event.Err, l.Status().Fallback)
					}
				})
			}
		}
	}
}

// What cannot hold a password is told in full.
func TestErrorsOfTheStoreAreTold(t *testing.T) {
	t.Parallel()
	for name, password := range map[string]string{"without a password": "", "with one": "correct-horse-battery"} {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Password: password, Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no route to the store")
		}})
		events := make(chan Event, 10)
		l := newLimiter(t, rdb, 10, time.Second, WithObserver(func(e Event) { events <- e }))
		l.Release(acquire(t, l, connic.LaneCall), answered)
		if event := <-events; event.Err == nil || !strings.Contains(event.Err.Error(), "no route to the store") || !strings.Contains(l.Status().Fallback, "no route to the store") {
			t.Errorf("%s: %v, %q", name, event.Err, l.Status().Fallback)
		}
		_ = rdb.Close()
	}
	for text, want := range map[string]string{"NOAUTH Authentication required.": "NOAUTH", "ERR pw-1": "the store failed"} {
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", Password: "pw-1"})
		rdb.AddHook(failing{refusal(text)})
		l := newLimiter(t, rdb, 10, time.Second)
		l.Release(acquire(t, l, connic.LaneCall), answered)
		if told := l.Status().Fallback; !strings.HasSuffix(told, want) {
			t.Errorf("%q", told)
		}
		_ = rdb.Close()
	}
}

// refusal is an error of the server.
type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}
