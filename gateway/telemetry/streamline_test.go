package telemetry

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"
)

func TestStreamLinesHoldWhatIsKnown(t *testing.T) {
	m := New(Options{})
	all := &StreamRecord{
		Start: time.Date(2026, 11, 20, 8, 5, 9, 7e6, time.UTC), Duration: 12345 * time.Microsecond,
		Kind: StreamTLS, Name: "shop.example", Flags: UpstreamFailure, BytesReceived: 17, BytesSent: 1024, Attempts: 2,
		Connect:           1500 * time.Microsecond,
		DatagramsReceived: 3, DatagramsSent: 4, TLS: true, Source: "spiffe://cluster.local/ns/shop/sa/web",
		Remote: netip.MustParseAddrPort("192.0.2.7:51234"), Endpoint: netip.MustParseAddrPort("[2001:db8::1]:53"),
	}
	bare := &StreamRecord{Start: time.Unix(0, 0), Kind: StreamUDP, Flags: NoRoute}
	tests := []struct {
		name   string
		format func([]byte, *stamp, *Exchanges, *StreamRecord) []byte
		labels Labels
		record *StreamRecord
		want   string
	}{
		{"all, as JSON", appendStreamJSON, cart, all,
			`{"time":"2026-11-20T08:05:09.007Z","protocol":"TLS","server_name":"shop.example","flags":"UF","bytes_in":17,` +
				`"bytes_out":1024,"datagrams_in":3,"datagrams_out":4,"duration_ms":12.345,"connect_ms":1.500,"remote":"192.0.2.7:51234",` +
				`"endpoint":"[2001:db8::1]:53","attempts":2,"tls":true,"source_principal":"spiffe://cluster.local/ns/shop/sa/web",` +
				`"cluster":"shop/cart:8080","route":"HTTPRoute/shop/cart",` +
				`"rule":"0","listener":"shop/edge/https"}` + "\n"},
		{"little, as JSON", appendStreamJSON, Labels{}, bare,
			`{"time":"1970-01-01T00:00:00.000Z","protocol":"UDP","flags":"NR","bytes_in":0,"bytes_out":0,` +
				`"duration_ms":0.000,"remote":"-","attempts":0,"tls":false}` + "\n"},
		{"all, as text", appendStreamText, cart, all,
			`[2026-11-20T08:05:09.007Z] "TLS" UF 17 1024 12.345 1.500 192.0.2.7:51234 [2001:db8::1]:53 "shop.example" ` +
				`"shop/edge/https" "HTTPRoute/shop/cart" "0" "shop/cart:8080" attempts=2 datagrams=3/4 tls source="spiffe://cluster.local/ns/shop/sa/web"` + "\n"},
		{"little, as text", appendStreamText, Labels{}, bare,
			`[1970-01-01T00:00:00.000Z] "UDP" NR 0 0 0.000 - - - "-" "-" "-" "-" "-"` + "\n"},
	}
	for _, tt := range tests {
		var clock stamp
		if got := string(tt.format(nil, &clock, m.Exchanges(tt.labels), tt.record)); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// A client chooses the name in its ClientHello.
func TestStreamLinesCannotBeForged(t *testing.T) {
	m := New(Options{})
	var clock stamp
	r := &StreamRecord{Kind: StreamTLS, Name: "a\",\"tls\":true}\n{\"", Start: time.Unix(0, 0)}
	line := appendStreamJSON(nil, &clock, m.Exchanges(Labels{}), r)
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if got["server_name"] != r.Name || got["tls"] != false {
		t.Errorf("%s is read as %v", line, got)
	}
}
