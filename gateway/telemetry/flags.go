package telemetry

import "math/bits"

// flagText are the codes of the flags, by their bit.
var flagText = [...]string{
	"NR", "UH", "UF", "UO", "URX", "UT", "UC", "UR", "UPE", "DC", "DPE", "RL", "UAEX", "NC", "OM", "DI", "FI", "SI",
	"DT", "DF", "DR",
}

// String returns the codes, joined by commas, and "-" for none, as Istio's
// response_flags label has it.
func (f Flags) String() string {
	if f == 0 {
		return "-"
	}
	return string(f.Append(nil))
}

// Append appends the codes to dst, joined by commas; nothing for none.
func (f Flags) Append(dst []byte) []byte {
	first := true
	for rest := uint32(f); rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros32(rest)
		if i >= len(flagText) {
			break
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, flagText[i]...)
	}
	return dst
}
