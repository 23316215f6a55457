// Package connictest is a fake of the Connic service for tests: stateful, in
// memory, with the project's quota, keys and permissions, run lifecycles driven
// by agents that you write, counters of what was really executed, and faults on
// demand.
//
//	func TestSupport(t *testing.T) {
//		srv := connictest.NewServer(t)
//		srv.Agent("support", func(ctx context.Context, in connictest.Input) (any, error) {
//			return "You said: " + in.Message, nil
//		})
//		client := srv.Client()
//		run, err := client.Agents.TriggerAndWait(t.Context(), "support", connic.TriggerRequest{Message: "hello"})
//		...
//	}
//
// [NewServer] listens on loopback. [New] does not listen at all: its clients
// reach it in process, so it works inside a testing/synctest bubble, where a
// minute of waiting takes no time. Make the server inside the bubble.
//
// The fake is strict: a request to an unknown route, or with a parameter or a
// body key that the operation does not have, is refused with an explanation.
//
// What it does is what this module knows and assumes of the service (see
// docs/api-coverage.md). A test that passes against the fake shows that your
// code is right about the client, not that the assumptions are right about the
// service.
package connictest
