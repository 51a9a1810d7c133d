package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"istio.io/api/security/v1alpha1"
)

// A Client has certificate requests signed by an IstioCertificateService: its
// Issue is for a [Keeper]. Address, TokenFile and Roots are required, and one of
// Server and ServerName.
type Client struct {
	Address string // "fairway-control.fairway-system.svc:15012"
	// TokenFile has the bearer token. It is read each time, as tokens are
	// replaced before they expire.
	TokenFile string
	Roots     Roots
	// Server says who may sign.
	Server Known
	// ServerName, if set, is who may sign by a name in DNS in place of an ID.
	ServerName string
	// ClusterID, if set, is the cluster that the token is of, for a CA that has
	// several.
	ClusterID string
	// DialOptions are added to those of the connection.
	DialOptions []grpc.DialOption
}

// Istiod returns the Client of istiod's CA, "istiod.istio-system.svc:15012". The
// token's audience is istio-ca, the roots are those of the ConfigMap
// istio-ca-root-cert. clusterID is the one that istiod knows the cluster by,
// "Kubernetes" if nobody said another. It is an error if address is none.
func Istiod(address, tokenFile, clusterID string, roots Roots) (*Client, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("istiod: %w", err)
	}
	return &Client{
		Address: address, TokenFile: tokenFile, Roots: roots,
		ServerName: strings.TrimSuffix(host, "."), ClusterID: clusterID,
	}, nil
}

// tls returns how to open TLS to the CA, as which nobody shows a certificate.
func (c *Client) tls() *tls.Config {
	config := ClientConfig(nil, c.Roots, c.Server)
	if c.ServerName != "" {
		config.ServerName = c.ServerName
		config.VerifyConnection = func(state tls.ConnectionState) error {
			return c.Roots().VerifyName(state.PeerCertificates, c.ServerName, time.Now())
		}
	}
	return config
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
	if c.ClusterID != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "clusterid", c.ClusterID)
	}
	// A connection of its own: it is needed twice a day.
	o := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(c.tls())),
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
