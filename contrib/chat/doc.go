// Package chat talks to an agent over a WebSocket connector, which streams its answers
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
// A session costs nothing of the API's quota. It ends after an idle time, 60 s to 24 h
// and an hour by default, after 100 messages by default, when the service closes it, or
// when the connection is lost; see [ErrEnded] and [ErrLost]. It is not dialed again: the
// conversation is gone with the connection, so the caller decides what a new one begins
// with. No message is sent twice.
//
// The messages of the connector are documented, the inner keys of chunks and errors are
// assumed; several spellings are understood. Messages of unknown types are passed over,
// and can be seen in [Answer.Unknown].
package chat
