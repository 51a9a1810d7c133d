package identity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"istio.io/api/security/v1alpha1"
)

// A Client has certificate requests signed by an IstioCertificateService: its
// Issue is for a [Keeper]. All fields but Own and DialOptions are required.
type Client struct {
	Address string // "fairway-control.fairway-system.svc:15012"
	// TokenFile has the bearer token of the first certificate. It is read
	// each time, as tokens are replaced before they expire.
	TokenFile string
	Roots     Roots
	// Server says who may sign.
	Server Known
	// Own, if set, is the certificate at hand, by which the next is asked for.
	Own Own
	// DialOptions are added to those of the connection.
	DialOptions []grpc.DialOption
}

// Issue has csr signed: as whom the certificate at hand says, or as whom the
// token says if there is none or if it is refused.
func (c *Client) Issue(ctx context.Context, csr []byte) ([]byte, error) {
	if c.Own != nil {
		if _, err := c.Own(); err == nil {
			chain, err := c.issue(ctx, csr, c.Own)
			if code := status.Code(err); code != codes.Unauthenticated && code != codes.PermissionDenied {
				return chain, err
			}
		}
	}
	token, err := os.ReadFile(c.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+string(bytes.TrimSpace(token)))
	return c.issue(ctx, csr, nil)
}

func (c *Client) issue(ctx context.Context, csr []byte, own Own) ([]byte, error) {
	// A connection of its own: it is needed twice a day, and has to show the
	// certificate that is asked with.
	o := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(ClientConfig(own, c.Roots, c.Server))),
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
