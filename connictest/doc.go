// Package connictest is a fake of the Connic service for tests: stateful, in
// memory, with the project's quota, keys and permissions, run lifecycles driven
// by agents that you write, counters of what was really executed, and faults on
// demand.
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
// [New] does not listen: its clients reach the fake in process, so it works inside a
// testing/synctest bubble, where a minute of waiting takes no time. Make it inside the
// bubble; TestVirtualTime in this package shows how. [NewServer] and [Start] listen on
// loopback.
//
// The fake is strict: a request to an unknown route, or with a parameter or a body key
// that the operation does not have, is refused with an explanation, and fails the test.
// See [Server.Lenient].
//
// Functions that a test hands over ([AgentFunc] and the others) may panic, block, call
// the server, or end their goroutine: their run or job fails, and the server goes on.
//
// What the fake does is what this module knows and assumes of the service (see
// docs/api-coverage.md). A test that passes against it shows that your code is right
// about the client, not that the assumptions are right about the service.
// docs/guide/testing.md says what it does not model.
package connictest
