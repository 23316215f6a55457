package redisquota

import (
	"errors"
	"strings"
	"syscall"

	"github.com/connic-go/connic/internal/mask"
	"github.com/redis/go-redis/v9"
)

// leastPassword is the minimum length of a password that package mask finds.
const leastPassword = 8

// credentials returns the password of a client, and whether that is all that
// errors of the store, of dialers and of hooks may quote.
func credentials(rdb redis.UniversalClient) (password string, known bool) {
	switch c := rdb.(type) {
	case *redis.Client:
		o := c.Options()
		password = o.Password
		// A failover client does not tell the password of its sentinels.
		known = o.Addr != "FailoverClient" && o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
	case *redis.ClusterClient:
		o := c.Options()
		password = o.Password
		known = o.ClusterSlots == nil && o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
	case *redis.Ring:
		o := c.Options()
		password = o.Password
		known = o.CredentialsProvider == nil && o.CredentialsProviderContext == nil && o.StreamingCredentialsProvider == nil
	}
	return password, known && (password == "" || len(password) >= leastPassword)
}

// safe returns an error of the store without secrets.
func (l *limiter) safe(err error) error {
	if err == nil || !l.concise {
		return l.mask.Error(err)
	}
	texts := []string{"the store failed"}
	var number syscall.Errno
	if errors.As(err, &number) {
		texts = append(texts, number.Error())
	}
	for _, code := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "READONLY", "LOADING", "OOM", "CLUSTERDOWN", "MASTERDOWN"} {
		if redis.HasErrorPrefix(err, code) {
			texts = append(texts, code)
		}
	}
	return mask.Replace(err, strings.Join(texts, ": "))
}
