package loop

// A Local is a variable that each loop has one of: free lists, scratch
// buffers, cached texts. It is declared at package level and costs a look-up,
// which a connection does once.
type Local[T any] struct {
	// New makes a loop's variable when it is first asked for. If nil, it
	// begins as a zero T.
	New func(*Loop) *T
}

// Of returns l's variable. It is called on l.
func (v *Local[T]) Of(l *Loop) *T {
	if t, ok := l.locals[v].(*T); ok {
		return t
	}
	var t *T
	if v.New != nil {
		t = v.New(l)
	} else {
		t = new(T)
	}
	if l.locals == nil {
		l.locals = make(map[any]any)
	}
	l.locals[v] = t
	return t
}
