package http2

import "fairway.dev/gateway/message"

// A staticField is an entry of the static table.
type staticField struct {
	name, value string
	id          message.Name
	kind        kind
}

// staticTable is RFC 7541 appendix A; index 1 of the wire is 0 here.
var staticTable = func() (t [61]staticField) {
	for i, f := range [61][2]string{
		{":authority", ""}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"},
		{":scheme", "http"}, {":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"},
		{":status", "304"}, {":status", "400"}, {":status", "404"}, {":status", "500"},
		{"accept-charset", ""}, {"accept-encoding", "gzip, deflate"}, {"accept-language", ""},
		{"accept-ranges", ""}, {"accept", ""}, {"access-control-allow-origin", ""}, {"age", ""}, {"allow", ""},
		{"authorization", ""}, {"cache-control", ""}, {"content-disposition", ""}, {"content-encoding", ""},
		{"content-language", ""}, {"content-length", ""}, {"content-location", ""}, {"content-range", ""},
		{"content-type", ""}, {"cookie", ""}, {"date", ""}, {"etag", ""}, {"expect", ""}, {"expires", ""},
		{"from", ""}, {"host", ""}, {"if-match", ""}, {"if-modified-since", ""}, {"if-none-match", ""},
		{"if-range", ""}, {"if-unmodified-since", ""}, {"last-modified", ""}, {"link", ""}, {"location", ""},
		{"max-forwards", ""}, {"proxy-authenticate", ""}, {"proxy-authorization", ""}, {"range", ""},
		{"referer", ""}, {"refresh", ""}, {"retry-after", ""}, {"server", ""}, {"set-cookie", ""},
		{"strict-transport-security", ""}, {"transfer-encoding", ""}, {"user-agent", ""}, {"vary", ""},
		{"via", ""}, {"www-authenticate", ""},
	} {
		id, k := classify([]byte(f[0]))
		t[i] = staticField{f[0], f[1], id, k}
	}
	return t
}()

// Indexes of the static table that the encoder writes.
const (
	indexAuthority  = 1
	indexGET        = 2
	indexPOST       = 3
	indexPath       = 4
	indexHTTP       = 6
	indexHTTPS      = 7
	indexStatus     = 8
	indexGzip       = 16
	firstDynamic    = uint64(len(staticTable)) + 1
	fieldOverhead   = 32 // what RFC 7541 section 4.1 adds to each entry
	maxDynamicTable = 4096
)

// staticNames gives the index of each well-known name, 0 where it has none.
var staticNames = func() (t [256]uint8) {
	for i := len(staticTable) - 1; i >= 0; i-- {
		if id := staticTable[i].id; id != message.Other {
			t[id] = uint8(i + 1)
		}
	}
	return t
}()
