package connector

import "database/sql/driver"

// Value implements [driver.Valuer]. It fails, so that no database receives the
// secret by mistake: convert it to a string to store it.
func (s Secret) Value() (driver.Value, error) {
	return nil, argument("Secret", "secret", "is no column; convert it to a string to store it")
}
