package connic_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A command-line program obtains a key for its user, who confirms the login in a
// browser.
func ExampleLogin() {
	srv := connictest.New()
	defer srv.Close()
	options := []connic.Option{ // in production: none
		connic.WithBaseURL(srv.URL()),
		connic.WithHTTPClient(&http.Client{Transport: srv.Transport()}),
	}
	ctx := context.Background()

	show := func(p connic.LoginPrompt) error {
		fmt.Println("Open", p.VerificationURL)
		fmt.Println("and confirm the code", p.UserCode)
		srv.ApproveLogin(p.UserCode) // in production the user does this
		return nil
	}
	projectID, key, err := connic.Login(ctx, show, options...)
	if err != nil {
		fmt.Println(err) // such as ErrLoginDenied or ErrLoginExpired
		return
	}
	client, err := connic.New(projectID, key, options...)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.Project.Get(ctx)
	fmt.Println("logged in:", err == nil)
	// Output:
	// Open https://connic.co/cli/login?code=CODE-0001
	// and confirm the code CODE-0001
	// logged in: true
}
