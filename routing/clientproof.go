package routing

import (
	"bytes"
	"encoding/binary"
)

// extras yields what v asks of certificates besides leading to its roots, each
// with what it is.
func (v *ClientValidation) extras(yield func(kind byte, text string) bool) {
	for _, list := range [...]struct {
		kind  byte
		texts []string
	}{{'n', v.SANs}, {'k', v.SPKI}, {'h', v.Hashes}} {
		for _, text := range list.texts {
			if !yield(list.kind, text) {
				return
			}
		}
	}
}

// Proof is what a connection has shown whose client's certificate meets v:
// bytes that are equal where validations let in the same. Without more than
// roots they are those.
func (v *ClientValidation) Proof() []byte {
	proof := v.Roots[:len(v.Roots):len(v.Roots)]
	for kind, text := range v.extras {
		proof = binary.AppendUvarint(append(proof, kind), uint64(len(text)))
		proof = append(proof, text...)
	}
	if len(v.CRL) > 0 {
		proof = append(append(proof, 'c'), v.CRL...)
	}
	return proof
}

// ProvedBy reports whether a connection has shown what v asks for now. It
// allocates nothing.
func (v *ClientValidation) ProvedBy(proof []byte) bool {
	rest, ok := bytes.CutPrefix(proof, v.Roots)
	var head [1 + binary.MaxVarintLen64]byte
	for kind, text := range v.extras {
		size := binary.AppendUvarint(append(head[:0], kind), uint64(len(text)))
		if rest, ok = cut(rest, size, ok); ok {
			ok = len(rest) >= len(text) && string(rest[:len(text)]) == text
		}
		if !ok {
			return false
		}
		rest = rest[len(text):]
	}
	if len(v.CRL) > 0 {
		if rest, ok = cut(rest, append(head[:0], 'c'), ok); ok {
			rest, ok = bytes.CutPrefix(rest, v.CRL)
		}
	}
	return ok && len(rest) == 0 && len(proof) > 0
}

// cut takes a prefix off, if all was well so far.
func cut(b, prefix []byte, ok bool) ([]byte, bool) {
	if !ok {
		return b, false
	}
	return bytes.CutPrefix(b, prefix)
}
