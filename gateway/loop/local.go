package loop

// A Local is a variable that each loop has one of, zero at first: free lists,
// scratch buffers, cached texts. It is declared at package level and costs a
// look-up, which a connection does once.
type Local[T any] struct {
	_ byte // so that no two Locals have one address
}

// Of returns l's variable. It is called on l.
func (v *Local[T]) Of(l *Loop) *T {
	if t, ok := l.locals[v].(*T); ok {
		return t
	}
	t := new(T)
	if l.locals == nil {
		l.locals = make(map[any]any)
	}
	l.locals[v] = t
	return t
}
