// Package connictest is a fake of the Connic service for tests. It is stateful
// and in memory. It models the project's quota, keys and permissions, and runs
// whose agents you write; it counts what was actually executed, and injects
// faults on demand.
//
//	func TestSupport(t *testing.T) {
//		srv := connictest.New(t)
//		srv.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
//			return "You said: " + in.Message, nil
//		})
//		client := srv.Client()
//		run, err := client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "hello"})
//		...
//	}
//
// [New] returns a fake that does not listen. Its clients reach it in process,
// so it works inside a testing/synctest bubble, where a minute of waiting takes
// no time. Call New inside the bubble, as the example VirtualTime does.
// [NewServer] and [Start] listen on a loopback address.
//
// The fake is strict: it refuses a request to an unknown route, or with a
// parameter or body key that the operation does not have, explains why, and
// fails the test. See [Server.Lenient].
//
// Functions supplied by the test, such as [AgentFunc], may panic, block, call
// the server, or end their goroutine. Their run or job then fails, and the
// server continues.
//
// The fake implements what this module knows and assumes about the service (see
// docs/api-coverage.md). A test that passes against it shows that your code
// uses the client correctly, not that the assumptions about the service are
// right. docs/guide/testing.md lists what the fake does not model.
package connictest
