// Package connector starts agents through webhook connectors and receives the
// results of their runs. The vendor recommends connectors for production traffic.
// They do not count against the API quota of 60 requests a minute, but may have
// limits of their own.
//
// A connector is created in the dashboard, which shows its URL and secret. It has
// one of three modes:
//
//   - sync: [Connector.Call] sends an input and receives the output of the run, in
//     a single request that lasts as long as the run, at most five minutes.
//   - inbound: [Connector.Send] starts runs and returns their ids at once;
//     [Connector.SendAndWait] also collects the runs through the API.
//   - outbound: the service posts each completed run, and what an agent's tools and
//     middleware post, to your URL, where a [Handler] receives it. The URL must be
//     https on port 443 of a public address.
//
// # Receiving
//
// A [Receiver], or a [Handler], which is one with default settings, is an
// [http.Handler] that verifies deliveries, drops repetitions, and passes each to a
// function. A [Mux] passes them on by their [Kind], their agent, or a key of their
// payload, and what nobody handles to a fallback: [Mux.Handler] is its handler, and
// [Mux.Deliver] its function. [Delivery.Run], [Delivery.Approval], [Delivery.LogLine] and
// [Delivery.AuditEntry] are typed forms of a [Delivery], whose Body is always the
// JSON as received. Drains post batches, whose items are deliveries themselves.
//
// # Retries
//
// Connectors have no protection against replays: an input that arrives twice
// starts its agents twice, and both runs are billed. A call is therefore retried
// only if it is certain that no byte of it left the process, or after a 429, which
// says that it was refused. Any other failure without a definite response is an
// error that matches [connic.ErrOutcomeUnknown]. If you need an idempotency key,
// put it into the payload.
//
// # Errors
//
// An input that is refused before anything is sent is a [*connic.ArgumentError]. A
// failed call is an [*Error], which matches the same sentinels as the errors of
// package connic. A run that did not complete is a [*connic.RunError]. Calling a
// connector that has the other mode is a [*ModeError].
//
// # Telemetry
//
// [WithTelemetry] observes calls with the observers, loggers and spans of a client.
//
// # Secrets
//
// The secret never appears in errors or in the printed form of any value in this
// package, except in what is handed over as received: the output and the raw body
// of a response or a delivery. Neither do the path and the query of the
// connector's URL, because the URL is all that is needed to call a connector
// without authentication.
package connector
