// Package connic is a client for the API of Connic, a platform where companies
// run AI agents: trigger agents, wait for their runs, read runs and costs, feed
// knowledge, deploy.
//
//	client, err := connic.NewFromEnv() // or connic.New(projectID, key)
//	if err != nil {
//		return err
//	}
//	run, err := client.Agents.TriggerAndWait(ctx, "support", connic.TriggerRequest{Message: "hello"})
//	if err != nil {
//		return err
//	}
//	fmt.Println(run.Output)
//
// # What is known
//
// The schemas of the API are not public. Three calls are documented in full, some
// are known from the vendor's own client, and the rest is described in words. Each
// method says which: its last line is "Status: documented", "observed" or
// "assumed", and docs/api-coverage.md lists them all. A wrong assumption is cheap:
// [WithRoute] moves an operation to another path, [Client.Do] calls what this
// package does not offer, [CaptureResponse] shows an answer as it came. Answers
// are decoded tolerantly: unknown fields are ignored, unknown states are kept, and
// numbers in strings, times without a zone and lists in any usual envelope are
// understood.
//
// # Rate limit
//
// The service allows 60 requests a minute for a whole project, whatever the number
// of keys and programs. A Client keeps to that: it sends at most 60 requests in
// any minute, retries and polls included, and lets other calls wait in line, first
// come first served. Polls of the Wait methods stand back for calls. A call whose
// turn cannot come before its context's deadline fails at once, with an error that
// is both [ErrRateLimited] and [context.DeadlineExceeded].
//
// A 429 stops all calls of the Client until its Retry-After has passed. Then the
// Client looks for its share of the quota beside the other programs that use it.
// Several Clients in one process share a quota best by sharing a [Limiter]: see
// [NewLimiter] and [WithLimiter]. [Client.RateLimit] shows the state, and
// [WithObserver] why a call waits and for how long.
//
// # Retries
//
// A request that fails is sent up to 4 times, with exponential backoff and full
// jitter, if a repetition is harmless:
//
//   - reads and other operations that can be repeated: after connection errors,
//     attempts that took too long, 408, 425, 5xx but 501, and answers that break off;
//   - operations that do their work again each time, as a trigger does: only when
//     not a byte of the request was sent.
//
// Everything is sent again after a 429, which says that the request was not
// executed. Where a trigger failed and may have been executed all the same, the
// error is [ErrOutcomeUnknown]. [WithRetry] and [WithMaxAttempts] set other bounds.
// An outage costs a Client no more than 10 retries in all (see [RetryPolicy]).
//
// No redirect is followed.
//
// # Errors
//
// An answer with an error status is an [*Error]; it matches [ErrNotFound],
// [ErrForbidden] and so on with [errors.Is]. A call without a usable answer is a
// [*TransportError] or [*DecodeError], one that the Client itself refused an
// [*ArgumentError] or [*LimitError]. What ended badly on the service is a
// [*RunError], [*JobError], [*EvaluationError], [*DeploymentError] or [*TestRunError],
// returned together with what ended. A wait that ended early is a [*WaitError].
//
// # Secrets
//
// The API key never appears in errors, events, logs, or the printed forms of any
// value of this package.
//
// # Tests
//
// Package connictest is a fake of the service for your tests.
package connic
