// Package connic is a client for the API of Connic, a platform where companies
// run AI agents. It triggers agents, waits for their runs, reads runs and costs,
// uploads knowledge, and deploys agent projects.
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
// # Typed agents
//
// An [AgentOf] is the name of an agent with the types of its input and output. Its
// methods take the one and return the other:
//
//	const ExtractInvoice connic.AgentOf[Request, Invoice] = "invoice-extractor"
//
//	invoice, run, err := ExtractInvoice.TriggerAndWait(ctx, client, Request{Customer: 7})
//
// The module contrib/connicgen generates the constants and types from the schemas of
// a project.
//
// # API, Access, Status
//
// The schemas of the API are not public. The documentation of each method that
// calls the API ends with three lines:
//
//   - API: the HTTP method and the route. {project} is the client's project.
//   - Access: the section of the API key, and read or write, that the call needs.
//   - Status: how the operation is known.
//
// The status is one of:
//
//   - documented: the vendor's documentation of the API shows it.
//   - observed: the vendor's own command-line client calls it.
//   - assumed: it follows this package's convention, and may turn out differently.
//
// The fields of the types carry the same marks in their api struct tags, where
// "words" means that the vendor describes the field in prose without naming it.
// docs/api-coverage.md lists all operations.
//
// A wrong assumption is cheap to work around: [WithRoute] moves an operation to
// another path, [WithQuery] and [WithBodyField] add what a call lacks, [Client.Do]
// calls an operation that this package does not offer, and [CaptureResponse]
// returns the response as it was received. Decoding is tolerant: unknown fields
// are ignored, unknown states are preserved, and numbers in strings, objects in
// strings under NAME_json, times without a zone, and lists in any common envelope
// are accepted.
//
// # Rate limit
//
// The service allows 60 requests a minute per project, regardless of how many
// keys and programs share it. A Client stays within that quota: it sends at most
// 60 requests in any minute, including retries and polls, and queues other calls
// in order of arrival. Polls by the Wait methods have a reserved part of the
// quota. A call whose turn cannot come before its context's deadline fails at
// once, with an error that is both [ErrRateLimited] and
// [context.DeadlineExceeded].
//
// A 429 response pauses all calls of the Client until its Retry-After has passed.
// The Client then probes for its share of a quota that other programs use too.
// Clients in one process should share a [Limiter]: see [NewLimiter] and
// [WithLimiter]. [Client.RateLimit] reports the current state, and [WithObserver]
// reports why a call waits and for how long.
//
// # Retries
//
// A failed request is sent up to 4 times, with exponential backoff and full
// jitter, if repeating it is harmless:
//
//   - Reads and other repeatable operations are retried after connection errors,
//     attempt timeouts, truncated responses, 408, 425, and 5xx except 501.
//   - Operations that do their work again each time, such as a trigger, are
//     retried only if not a byte of the request was sent.
//
// Every operation is retried after a 429, because the service did not execute
// the request. If a trigger failed and may nevertheless have been executed, the
// error is [ErrOutcomeUnknown]. [WithRetry] and [WithMaxAttempts] set other
// bounds. An outage costs a Client at most 10 retries in total (see
// [RetryPolicy]).
//
// Redirects are not followed.
//
// # Errors
//
// A response with an error status is an [*Error], which matches [ErrNotFound],
// [ErrForbidden] and so on with [errors.Is]. A call without a usable response
// fails with a [*TransportError] or [*DecodeError]; a call that the Client itself
// refuses fails with an [*ArgumentError] or [*LimitError]. Work that ended badly
// on the service is a [*RunError], [*JobError], [*EvaluationError],
// [*DeploymentError] or [*TestRunError], returned together with the run, job and
// so on. A wait that ended early is a [*WaitError]. The output of a completed run that
// is not of the expected type is an [*OutputError].
//
// # Secrets
//
// The API key never appears in errors, events, logs, or the printed form of any
// value in this package.
//
// # Tests
//
// Package connictest is a fake of the service for your tests.
package connic
