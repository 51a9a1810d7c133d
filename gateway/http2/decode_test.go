package http2

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"fairway.dev/gateway/message"
)

// list returns the fields of a block as "name: value" lines.
func (b *block) list() string {
	var sb strings.Builder
	for _, f := range b.fields {
		name := f.id.String()
		if f.id == message.Other {
			name = string(b.buf[f.name.off:f.name.end])
		}
		sb.WriteString(name + ": " + string(b.buf[f.value.off:f.value.end]) + "\n")
	}
	return sb.String()
}

func newDecoder() *decoder { return &decoder{dynamic: table{max: maxDynamicTable}} }

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The examples of RFC 7541 appendix C. A decoder takes the blocks of one in turn.
var rfc7541 = []struct {
	section string
	table   uint32
	blocks  []string
	want    []string
	size    uint32 // of the dynamic table in the end
}{
	{"C.2.1", 4096, []string{"400a637573746f6d2d6b65790d637573746f6d2d686561646572"}, []string{"custom-key: custom-header\n"}, 55},
	{"C.2.2", 4096, []string{"040c2f73616d706c652f70617468"}, []string{":path: /sample/path\n"}, 0},
	{"C.2.3", 4096, []string{"100870617373776f726406736563726574"}, []string{"password: secret\n"}, 0},
	{"C.2.4", 4096, []string{"82"}, []string{":method: GET\n"}, 0},
	{"C.3", 4096, []string{
		"828684410f7777772e6578616d706c652e636f6d",
		"828684be58086e6f2d6361636865",
		"828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
	}, rfcRequests, 164},
	{"C.4", 4096, []string{
		"828684418cf1e3c2e5f23a6ba0ab90f4ff",
		"828684be5886a8eb10649cbf",
		"828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
	}, rfcRequests, 164},
	{"C.5", 256, []string{
		"4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
		"4803333037c1c0bf",
		"88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
	}, rfcResponses, 215},
	{"C.6", 256, []string{
		"488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
		"4883640effc1c0bf",
		"88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
	}, rfcResponses, 215},
}

var rfcRequests = []string{
	":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
	":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\ncache-control: no-cache\n",
	":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\ncustom-key: custom-value\n",
}

var rfcResponses = []string{
	":status: 302\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
	":status: 307\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:21 GMT\nlocation: https://www.example.com\n",
	":status: 200\ncache-control: private\ndate: Mon, 21 Oct 2013 20:13:22 GMT\nlocation: https://www.example.com\n" +
		"content-encoding: gzip\nset-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1\n",
}

func TestDecoderReadsTheExamplesOfTheRFC(t *testing.T) {
	for _, tt := range rfc7541 {
		d := &decoder{dynamic: table{max: tt.table}}
		for i, in := range tt.blocks {
			var b block
			b.reset(&standardLimits)
			if err := d.decode(unhex(t, in), &b); err != nil {
				t.Errorf("RFC 7541 %s, block %d: %v", tt.section, i+1, err)
			}
			if got := b.list(); got != tt.want[i] {
				t.Errorf("RFC 7541 %s, block %d:\n%swant\n%s", tt.section, i+1, got, tt.want[i])
			}
		}
		if d.dynamic.size != tt.size {
			t.Errorf("RFC 7541 %s: the table has %d bytes, want %d", tt.section, d.dynamic.size, tt.size)
		}
	}
}

func TestDecoderRefuses(t *testing.T) {
	tests := []struct {
		section string
		in      string
		want    error
	}{
		{"2.3.3: index past both tables", "c6", errIndex},
		{"2.3.3: name index past both tables", "7f 00 01 61", errIndex},
		{"6.1: index 0", "80", errIndex},
		{"6.1: index cut off", "ff 80", errTruncated},
		{"6.2: name index cut off", "7f", errTruncated},
		{"4.2: size update after a field", "82 20", errLateUpdate},
		{"6.3: size update cut off", "3f", errTruncated},
		{"6.3: size update over the limit", "3f e2 1f", errUpdateTooBig},
		{"5.1: integer cut off", "ff", errTruncated},
		{"5.1: integer over 63 bits", "ff 80 80 80 80 80 80 80 80 80 01", errInteger},
		{"5.2: string cut off", "00 05 61", errTruncated},
		{"5.2: no string", "00", errTruncated},
		{"5.2: length cut off", "00 7f", errTruncated},
		{"5.2: padding of more than 7 bits", "00 81 1f 82 ff ff", errHuffman},
		{"5.2: padding of zeros", "00 81 18 01 61", errHuffman},
		{"5.2: EOS", "00 84 ff ff ff ff 01 61", errHuffman},
	}
	for _, tt := range tests {
		var b block
		b.reset(&standardLimits)
		if err := newDecoder().decode(unhex(t, tt.in), &b); !errors.Is(err, tt.want) {
			t.Errorf("RFC 7541 %s: %s gives %v, want %v", tt.section, tt.in, err, tt.want)
		}
	}
}

// A block that passes a limit costs no memory for what is beyond it, and
// leaves the decoder in step with the peer (an HPACK bomb).
func TestDecoderKeepsNothingOverTheLimits(t *testing.T) {
	d := newDecoder()
	big := append([]byte{0x40, 1, 'x', 0x7f, 0xa1, 0x1e}, bytes.Repeat([]byte{'v'}, 4000)...)
	bomb := append(big, bytes.Repeat([]byte{0xbe}, 16000)...) // 64 MB of fields
	var b block
	b.reset(&standardLimits)
	if err := d.decode(bomb, &b); err != nil {
		t.Fatal(err)
	}
	if b.excess != tooLong || len(b.buf) > 64<<10 {
		t.Errorf("excess %d with %d bytes kept, want %d with at most 64 KiB", b.excess, len(b.buf), tooLong)
	}
	b.reset(&Limits{HeaderFields: 3})
	if err := d.decode([]byte{0x82, 0x84, 0x87, 0x83}, &b); err != nil || b.excess != tooMany || len(b.fields) != 3 {
		t.Errorf("excess %d with %d fields, %v; want %d with 3", b.excess, len(b.fields), err, tooMany)
	}
	b.reset(&standardLimits)
	if err := d.decode([]byte{0xbe}, &b); err != nil || b.list() != "x: "+strings.Repeat("v", 4000)+"\n" {
		t.Errorf("after the bomb the table's entry reads %.20q, %v", b.list(), err)
	}
}

// RFC 7541 section 4.4: an entry larger than the table is no mistake, and
// empties it.
func TestEntryLargerThanTheTable(t *testing.T) {
	d := newDecoder()
	var b block
	b.reset(&standardLimits)
	in := append([]byte{0x40, 1, 'a', 1, 'b', 0x40, 1, 'x', 0x7f, 0x81, 0x26}, bytes.Repeat([]byte{'v'}, 4992)...)
	if err := d.decode(in, &b); err != nil || len(b.fields) != 2 {
		t.Fatalf("%d fields, %v", len(b.fields), err)
	}
	if err := d.decode([]byte{0xbe}, &b); !errors.Is(err, errIndex) {
		t.Errorf("the table's first entry gives %v, want %v", err, errIndex)
	}
}

// A value that no field may have does not get better by coming from the table.
func TestBadValuesFromTheTable(t *testing.T) {
	d := newDecoder()
	for _, in := range []string{"40 01 61 02 0a 62", "be", "be"} {
		var b block
		b.reset(&standardLimits)
		if err := d.decode(unhex(t, in), &b); err != nil || b.fields[0].kind != forbidden {
			t.Errorf("%s: %v, kind %d; want a forbidden field", in, err, b.fields[0].kind)
		}
	}
	var b block
	b.reset(&standardLimits)
	if err := d.decode(unhex(t, "7e 01 62"), &b); err != nil || b.fields[0].kind != plain { // its name is fine
		t.Errorf("another value with the name: %v, kind %d", err, b.fields[0].kind)
	}
}

func TestDecoderCountsCrumbsAsOneCookie(t *testing.T) {
	var b block
	b.reset(&Limits{HeaderFields: 2})
	in := bytes.Repeat([]byte{0x0f, 0x11, 1, 'a'}, 50) // 50 times cookie: a
	if err := newDecoder().decode(append(in, 0x82), &b); err != nil || b.excess != fits {
		t.Errorf("50 crumbs and a method: excess %d, %v", b.excess, err)
	}
}

// Entries come and go for a long time, in a table of any size.
func TestTablesTurnOver(t *testing.T) {
	for _, size := range []uint32{64, 300, 4096} {
		var out bytes.Buffer
		enc := hpack.NewEncoder(&out)
		enc.SetMaxDynamicTableSize(size)
		d := newDecoder()
		rnd := rand.New(rand.NewPCG(uint64(size), 0))
		for i := range 5000 {
			name, value := fmt.Sprint("x-", rnd.IntN(50)), strings.Repeat("v", rnd.IntN(60))
			if i%100 == 0 {
				value = strings.Repeat("v", 5000) // RFC 7541 section 4.4: it empties the table
			}
			enc.WriteField(hpack.HeaderField{Name: name, Value: value})
			var b block
			b.reset(&standardLimits)
			if err := d.decode(out.Bytes(), &b); err != nil || b.list() != name+": "+value+"\n" {
				t.Fatalf("table of %d, field %d: %q, %v; want %s: %s", size, i, b.list(), err, name, value)
			}
			out.Reset()
			if got := cap(d.dynamic.buf); got > maxDynamicTable+slack {
				t.Fatalf("the table's buffer has %d bytes", got)
			}
		}
	}
}

// blocks cuts fuzz input into header blocks: a length, then as many bytes.
func blocks(data []byte) (list [][]byte) {
	for len(data) > 0 {
		n := min(int(data[0]), len(data)-1)
		list = append(list, data[1:1+n])
		data = data[1+n:]
	}
	return list
}

// FuzzDecoder compares with the decoder of golang.org/x/net.
func FuzzDecoder(f *testing.F) {
	for _, tt := range rfc7541 {
		var in []byte
		for _, b := range tt.blocks {
			raw := unhex(f, b)
			in = append(append(in, byte(len(raw))), raw...)
		}
		f.Add(in)
	}
	f.Add([]byte("\x04\x20\x3f\x01\x82\x02\x40\x00"))
	f.Add([]byte("\x14\x82\x86\x84A\x0f00000\x80\x00000000000????"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := newDecoder()
		var want strings.Builder
		oracle := hpack.NewDecoder(maxDynamicTable, func(f hpack.HeaderField) {
			want.WriteString(f.Name + ": " + f.Value + "\n")
		})
		for _, in := range blocks(data) {
			want.Reset()
			_, wantErr := oracle.Write(in)
			if wantErr == nil {
				wantErr = oracle.Close()
			}
			var b block
			b.reset(&Limits{HeaderBytes: 1 << 30, HeaderFields: 1 << 30})
			err := d.decode(in, &b)
			if errors.Is(err, errLateUpdate) {
				return // the oracle allows it while its table is empty
			}
			if err == nil && wantErr != nil && in[0]&0xe0 == 0x20 && strings.Contains(wantErr.Error(), "size update") {
				return // RFC 7541 section 4.2 allows several updates, the oracle one
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("block %x: %v, oracle %v", in, err, wantErr)
			}
			if err != nil {
				return
			}
			if got := b.list(); got != want.String() {
				t.Fatalf("block %x:\n%soracle\n%s", in, got, want.String())
			}
		}
	})
}
