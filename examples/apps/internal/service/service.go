// Package service finds the service that a program talks to: Connic where
// credentials are set, and else a fake that the program brings along.
package service

import (
	"os"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// Service is what a program talks to. Close it.
type Service struct {
	Client *connic.Client
	// Fake is the embedded fake, nil where the service is the real one: there,
	// runs cost money.
	Fake *connictest.Server
}

// Connect makes a client of the real service if there is anything to configure it
// with: one of the environment variables that [connic.NewFromEnv] reads, or a file
// .connic. Without that it starts a fake and lets furnish put agents into it.
//
// A configuration that is there and incomplete is an error, and not a reason to
// fall back to the fake: a report about made-up data would look real.
func Connect(application string, furnish func(*connictest.Server), opts ...connic.Option) (*Service, error) {
	opts = append([]connic.Option{connic.WithApplication(application, connic.Version)}, opts...)
	if configured() {
		client, err := connic.NewFromEnv(opts...)
		if err != nil {
			return nil, err
		}
		return &Service{Client: client}, nil
	}
	fake := connictest.Start()
	furnish(fake)
	return &Service{Client: fake.Client(opts...), Fake: fake}, nil
}

func configured() bool {
	for _, name := range []string{"CONNIC_API_KEY", "CONNIC_PROJECT_ID", "CONNIC_TOKEN", "CONNIC_API_URL"} {
		if os.Getenv(name) != "" {
			return true
		}
	}
	_, err := os.Stat(".connic")
	return err == nil
}

// String names the service for people.
func (s *Service) String() string {
	if s.Fake != nil {
		return "the embedded fake"
	}
	return "the Connic service"
}

// Close closes the client, and the fake if there is one.
func (s *Service) Close() {
	_ = s.Client.Close()
	if s.Fake != nil {
		s.Fake.Close()
	}
}
