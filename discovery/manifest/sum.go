package manifest

import "hash/maphash"

// Sums tell whether something is as it was before. Their seed is of this
// process, so nobody can write two texts of one sum.
var seed = maphash.MakeSeed()

func sumOfText(text []byte) uint64 { return maphash.Bytes(seed, text) }

// sumOf returns the sum of a tree, whatever the order of its fields.
func sumOf(v any) uint64 {
	switch v := v.(type) {
	case tree:
		sum := uint64(len(v))
		for name, e := range v {
			sum += mix(maphash.String(seed, name), sumOf(e))
		}
		return mix(1, sum)
	case []any:
		sum := mix(2, uint64(len(v)))
		for _, e := range v {
			sum = mix(sum, sumOf(e))
		}
		return sum
	case string:
		return maphash.String(seed, v)
	}
	return maphash.Comparable(seed, v)
}

func mix(a, b uint64) uint64 { return maphash.Comparable(seed, [2]uint64{a, b}) }
