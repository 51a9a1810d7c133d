package routing

import "fmt"

var pathKinds = [...]string{PathPrefix: "PathPrefix", PathExact: "Exact", PathRegex: "RegularExpression", PathMethod: "Method", PathTextPrefix: "TextPrefix"}

// String returns Gateway API's name of k.
func (k PathKind) String() string {
	if int(k) < len(pathKinds) {
		return pathKinds[k]
	}
	return fmt.Sprintf("PathKind(%d)", uint8(k))
}

// MarshalText makes k readable in the JSON form of a Spec.
func (k PathKind) MarshalText() ([]byte, error) {
	if int(k) >= len(pathKinds) {
		return nil, fmt.Errorf("path kind %d: want 0-%d", uint8(k), len(pathKinds)-1)
	}
	return []byte(pathKinds[k]), nil
}

// UnmarshalText reads what MarshalText writes.
func (k *PathKind) UnmarshalText(text []byte) error {
	for i, name := range pathKinds {
		if string(text) == name {
			*k = PathKind(i)
			return nil
		}
	}
	return fmt.Errorf("path kind %q: want %q", text, pathKinds)
}

var textKinds = [...]string{TextExact: "Exact", TextPrefix: "Prefix", TextRegex: "RegularExpression", TextPresent: "Present"}

// String returns a name of k for people.
func (k TextKind) String() string {
	if int(k) < len(textKinds) {
		return textKinds[k]
	}
	return fmt.Sprintf("TextKind(%d)", uint8(k))
}

// MarshalText makes k readable in the JSON form of a Spec.
func (k TextKind) MarshalText() ([]byte, error) {
	if int(k) >= len(textKinds) {
		return nil, fmt.Errorf("text kind %d: want 0-%d", uint8(k), len(textKinds)-1)
	}
	return []byte(textKinds[k]), nil
}

// UnmarshalText reads what MarshalText writes.
func (k *TextKind) UnmarshalText(text []byte) error {
	for i, name := range textKinds {
		if string(text) == name {
			*k = TextKind(i)
			return nil
		}
	}
	return fmt.Errorf("text kind %q: want %q", text, textKinds)
}
