// Package chat talks to an agent over a WebSocket connector, which streams
// replies and remembers the conversation as long as the connection lives.
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
// A session does not count against the API quota. It ends after an idle time
// (60 s to 24 h, an hour by default), after 100 messages by default, when the
// service closes it, or when the connection is lost; see [ErrEnded] and
// [ErrLost]. It does not reconnect: the conversation is lost with the
// connection, so the caller decides how a new one begins. No message is sent
// twice.
//
// The messages of the connector are documented. The inner keys of chunks and
// errors are assumed; several spellings are understood. Messages of unknown
// types are ignored, and available in [Answer.Unknown].
package chat
