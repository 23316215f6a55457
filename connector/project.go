package connector

import (
	"context"
	"fmt"
	"strings"

	"github.com/connic-go/connic"
)

// FromProject returns a Connector for the connector of a project with the given
// name or id, so that a program copies neither its URL nor its secret. It must be
// a sync or inbound webhook connector whose URL, and whose secret unless it needs
// none, the service shows to the key of the client. It costs one request per 100
// connectors: make the Connector once.
func FromProject(ctx context.Context, client *connic.Client, name string, opts ...Option) (*Connector, error) {
	found, err := find(ctx, client, "FromProject", name)
	if err != nil {
		return nil, err
	}
	refuse := func(reason string) (*Connector, error) { return nil, argument("FromProject", "connector", reason) }
	switch {
	case found.Type != "" && found.Type != "http":
		return refuse("is no webhook connector; its type is " + fmt.Sprintf("%.50q", found.Type))
	case found.Mode == connic.ConnectorOutbound:
		return refuse("is outbound: it cannot be called; see SigningSecret")
	case found.URL == "":
		return refuse("is shown without its URL; pass that to New")
	}
	secret := found.Config.Text("secret")
	if found.Config["require_auth"] == false {
		secret = ""
	} else if why := unusable(secret); why != "" {
		return refuse("is shown " + why + "; pass its URL and secret to New")
	}
	return New(found.URL, Secret(secret), opts...)
}

// SigningSecret returns the secret that signs the deliveries of the outbound
// connector of a project with the given name or id, for a [Handler]. It costs one
// request per 100 connectors.
func SigningSecret(ctx context.Context, client *connic.Client, name string) (Secret, error) {
	found, err := find(ctx, client, "SigningSecret", name)
	if err != nil {
		return "", err
	}
	secret := found.Config.Text("webhook_secret")
	if why := unusable(secret); why != "" {
		return "", argument("SigningSecret", "connector", "is shown "+why)
	}
	return Secret(secret), nil
}

func find(ctx context.Context, client *connic.Client, op, name string) (*connic.Connector, error) {
	if client == nil {
		return nil, argument(op, "client", "is nil")
	}
	return client.Connectors.Find(ctx, name)
}

// unusable says why a secret cannot be used, or "".
func unusable(secret string) string {
	switch {
	case secret == "":
		return "without its secret"
	case strings.HasPrefix(secret, hidden), strings.Contains(secret, "***"), strings.Contains(secret, "•••"):
		return "with its secret masked"
	}
	return ""
}
