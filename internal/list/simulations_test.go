//go:build simulations

package list

// The gate runs
//
//	go test -tags simulations -run L1 ./internal/list
func init() { simulations = true }
