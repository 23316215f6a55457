module github.com/connic-go/connic/contrib/chat

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/connic-go/connic v0.0.0
)

replace github.com/connic-go/connic => ../..
