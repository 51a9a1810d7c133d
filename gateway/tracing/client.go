package tracing

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"

	"fairway.dev/routing"
)

// grpcPath is the method that takes spans.
const grpcPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"

// maxAnswer bounds what a collector may answer.
const maxAnswer = 64 << 10

// A client sends requests to one collector.
type client struct {
	spec      *routing.Tracing
	transport *http.Transport
}

func newClient(spec *routing.Tracing, dial func(context.Context, routing.ClusterName, string) (net.Conn, error)) *client {
	t := &http.Transport{Protocols: new(http.Protocols), MaxConnsPerHost: 1, DisableCompression: true}
	alpn := "http/1.1"
	if spec.Path == "" {
		t.Protocols.SetUnencryptedHTTP2(true)
		alpn = "h2"
	} else {
		t.Protocols.SetHTTP1(true)
	}
	// TLS, if any, is the cluster's matter: to the transport it is plain.
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, spec.Cluster, alpn) }
	return &client{spec, t}
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// send sends one request and says why it was not taken.
func (c *client) send(ctx context.Context, body []byte) error {
	path, contentType := c.spec.Path, "application/x-protobuf"
	if path == "" {
		path, contentType = grpcPath, "application/grpc"
		body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+authority(c.spec)+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	if c.spec.Path == "" {
		req.Header.Set("Te", "trailers")
	}
	for _, h := range c.spec.Header {
		req.Header.Set(h.Name, h.Value)
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("collector: status %d, want 200", resp.StatusCode)
	}
	if c.spec.Path != "" {
		return nil
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" { // Trailers-Only
		status = resp.Header.Get("Grpc-Status")
	}
	if status != "0" {
		return fmt.Errorf("collector: grpc-status %q, want 0", status)
	}
	return nil
}

// authority is what the collector is called in requests: the cluster's name
// without what no authority may have.
func authority(spec *routing.Tracing) string {
	if spec.Authority != "" {
		return spec.Authority
	}
	return "collector"
}
