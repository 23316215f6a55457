// Package conformance holds what is known and assumed of the API as data: requests
// and the statuses and keys that their answers are expected to have (cases/*.json).
// The cases run against the fake in process, over loopback and as connic-fake, and
// against the service itself when somebody asks for it:
//
//	CONNIC_CONFORMANCE=1 go test -run TestService -v ./conformance
//
// with CONNIC_API_KEY and CONNIC_PROJECT_ID set, and CONNIC_API_URL if it is
// another than the usual one. It only reads, and costs one request a case. With
// CONNIC_CONFORMANCE_WRITES=1 it also writes: it starts runs of the agent that
// CONNIC_CONFORMANCE_AGENT names, and makes and deletes judges, budgets, connectors
// and entries. With CONNIC_CONFORMANCE_ASKS, an agent whose runs await an approval,
// it approves a run of it. What differs is reported as a table.
package conformance
