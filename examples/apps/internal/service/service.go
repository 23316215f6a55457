// Package service chooses the service for a program: Connic if credentials are
// set, and otherwise an embedded fake.
package service

import (
	"os"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// A Service is a service to talk to. Close it after use.
type Service struct {
	Client *connic.Client
	// Fake is the embedded fake, or nil for the real service, where runs cost
	// money.
	Fake *connictest.Server
}

// Connect creates a client of the real service if it is configured: by one of
// the environment variables that [connic.NewFromEnv] reads, or a file .connic.
// Otherwise it starts a fake and calls furnish to add agents to it.
//
// An incomplete configuration is an error and not a reason to fall back to the
// fake, because a report about sample data would look real.
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

// String returns the display name of the service.
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
