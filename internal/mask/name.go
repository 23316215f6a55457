package mask

import (
	"slices"
	"strings"
)

// SecretName reports whether the name of a value in the configuration of a
// connector suggests a secret.
func SecretName(name string) bool {
	name = strings.ToLower(name)
	if strings.HasPrefix(name, "rate_limit") || strings.HasPrefix(name, "require_") {
		return false
	}
	return slices.ContainsFunc([]string{
		"secret", "token", "passw", "passphrase", "credential", "authorization", "apikey", "_key", "private", "dsn", "connection_string", "sid",
	}, func(word string) bool { return strings.Contains(name, word) }) || name == "key"
}
