// Package chat talks to agents over a WebSocket connector, which streams replies
// and remembers the conversation as long as the connection lives.
//
//	session, err := chat.Dial(ctx, url, secret)
//	if err != nil {
//		return err
//	}
//	defer session.Close()
//	reply, err := session.Send(ctx, chat.Message{Text: "Where is my order?"})
//	if err != nil {
//		return err
//	}
//	for chunk, err := range reply.Chunks() {
//		if err != nil {
//			return err
//		}
//		fmt.Print(chunk)
//	}
//	answer, err := reply.Wait() // the whole text, and the token usage
//
// A session does not count against the API quota; connectors have limits of
// their own, and a handshake that they refuse is a [*DialError] with status 429.
// It ends after an idle time (60 s to 24 h, an hour by default), after 100
// messages by default, when the service closes it, or when the connection is
// lost; see [ErrEnded] and [ErrLost]. It does not reconnect, so the caller
// decides how a new one begins: the conversation is lost with the connection,
// unless the agent has a session in its YAML. No message is sent twice.
//
// A connector may be linked to several agents. All of them answer each message,
// and a reply is complete when all have ended: [Answer.Answers] has the answer
// of each, and [Message.Agents] names those that are awaited. An agent that is
// linked with files_required does not answer a message without a file. If
// [Session.Agents] names it, await only the others.
//
// [Reply.Events] yields progress events in order with the chunks. A run that
// waits for an approval can be silent for up to seven days; see
// [WithApprovalTimeout]. [WithTelemetry] observes a session with the observers,
// loggers and spans of a client.
//
// The messages of the connector are documented, except the keys of errors, and
// the types and keys of progress events; several spellings are understood. That
// the messages of several agents interleave is assumed. The texts of agents,
// [Answer.Raw] and the final messages among the events are what the service has
// sent; in all other texts the connector's secret is masked.
package chat
