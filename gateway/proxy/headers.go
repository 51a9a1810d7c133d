package proxy

import (
	"strings"

	"fairway.dev/gateway/message"
	"fairway.dev/routing"
)

// editKind is what an edit does to the fields of its name.
type editKind uint8

const (
	editSet    editKind = iota // one field in place of all
	editAdd                    // one more
	editRemove                 // none
)

// An edit changes the fields of one name.
type edit struct {
	kind  editKind
	id    message.Name
	name  string // as the author wrote it
	lower string
	value string
}

// edits are made one after the other.
type edits []edit

// newEdits lowers header changes, those of first before those of second. Each
// of the two is done in the order that HTTPHeaderFilter has: set, add, remove.
func newEdits(first, second routing.HeaderChange) edits {
	var list edits
	for _, h := range []routing.HeaderChange{first, second} {
		for _, x := range h.Set {
			list = append(list, newEdit(editSet, x.Name, x.Value))
		}
		for _, x := range h.Add {
			list = append(list, newEdit(editAdd, x.Name, x.Value))
		}
		for _, name := range h.Remove {
			list = append(list, newEdit(editRemove, name, ""))
		}
	}
	return list
}

func newEdit(kind editKind, name, value string) edit {
	lower := strings.ToLower(name)
	return edit{kind, message.Lookup(lower), name, lower, value}
}

// apply edits the fields of a message.
func (list edits) apply(f *message.Fields) {
	for i := range list {
		x := &list[i]
		if x.kind != editAdd {
			x.remove(f)
		}
		if x.kind != editRemove {
			*f = append(*f, message.Field{Text: x.name, Value: x.value, ID: x.id})
		}
	}
}

func (x *edit) remove(f *message.Fields) {
	if x.id != message.Other {
		f.Remove(x.id)
		return
	}
	f.RemoveNamed(x.lower)
}

// applyRequest edits a request. Host is not among a message's fields: to set
// it is to rewrite the authority, and there is no other edit of it.
func (list edits) applyRequest(req *message.Request) {
	list.apply(&req.Fields)
	for i := range list {
		if list[i].id != message.Host {
			continue
		}
		if list[i].kind == editSet {
			req.Authority = list[i].value
		}
		req.Fields.Remove(message.Host)
	}
}
