// Package connector starts agents through webhook connectors and receives the
// results of their runs. This is the way that the vendor recommends for production
// traffic: it takes no share of the API's 60 requests a minute.
//
// A connector is made in the dashboard, which shows its URL and its secret. It is
// of one of three modes:
//
//   - sync: [Connector.Call] sends an input and gets the run's output, in one
//     request that lasts as long as the run, at most five minutes;
//   - inbound: [Connector.Send] starts runs and returns their ids at once;
//     [Connector.SendAndWait] collects the runs through the API;
//   - outbound: the service posts each completed run to a URL of yours, where
//     [Handler] takes it.
//
// # What is repeated
//
// A connector has no protection against replays: an input that is sent twice
// starts its agents twice, and somebody pays for both. So a call is sent again only
// where it is certain that not a byte of it left the process, and after a 429, which
// says that it was refused. Everything else that ends without a clear answer is an
// error that matches [connic.ErrOutcomeUnknown]. An idempotency key of your own
// belongs into the payload.
//
// # Errors
//
// An input that is refused before anything is sent is a [*connic.ArgumentError]. A
// call that failed is an [*Error], which matches the same sentinels as the errors
// of package connic. A run that did not complete is a [*connic.RunError]. A
// connector of the other mode is a [*ModeError].
//
// # Secrets
//
// The secret shows in no error and in no printed form of any value of this package.
// The same holds for the path and the query of the connector's URL, since the URL of
// a connector without authentication is all that a caller needs.
package connector
