package identity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"istio.io/api/security/v1alpha1"
)

// A Client has certificate requests signed by an IstioCertificateService: its
// Issue is for a [Keeper]. All fields but DialOptions are required.
type Client struct {
	Address string // "fairway-control.fairway-system.svc:15012"
	// TokenFile has the bearer token. It is read each time, as tokens are
	// replaced before they expire.
	TokenFile string
	Roots     Roots
	// Server says who may sign.
	Server Known
	// DialOptions are added to those of the connection.
	DialOptions []grpc.DialOption
}

// Issue has csr signed, as whom the token says. A certificate at hand does not
// count, so that one that was lost, or is of a CA that is no more, is no
// obstacle.
func (c *Client) Issue(ctx context.Context, csr []byte) ([]byte, error) {
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+string(bytes.TrimSpace(token)))
	// A connection of its own: it is needed twice a day.
	o := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(ClientConfig(nil, c.Roots, c.Server))),
		grpc.WithDisableServiceConfig(),
	}, c.DialOptions...)
	conn, err := grpc.NewClient(c.Address, o...)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	reply, err := v1alpha1.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &v1alpha1.IstioCertificateRequest{
		Csr: string(csr), ValidityDuration: int64(MaxTTL.Seconds()),
	})
	if err != nil {
		return nil, err
	}
	// Istio's CA leaves it to chance whether the texts end with a line break.
	return []byte(strings.Join(reply.GetCertChain(), "\n")), nil
}
