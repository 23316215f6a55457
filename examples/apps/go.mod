module github.com/connic-go/connic/examples/apps

go 1.25.0

replace github.com/connic-go/connic => ../..
