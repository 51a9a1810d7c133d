package proxy

import (
	"testing"

	"fairway.dev/gateway/message"
)

func TestNormalise(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/", "/"},
		{"/a/b", "/a/b"},
		{"/a/./b", "/a/b"},
		{"/a/../b", "/b"},
		{"/a/b/..", "/a/"},
		{"/a/b/.", "/a/b/"},
		{"/..", "/"},
		{"/../../a", "/a"},
		{"/a/%2e%2E/b", "/b"},
		{"/a/.%2e/b", "/b"},
		{"/a/%2e/b", "/a/b"},
		{"/a//b", "/a//b"}, // slashes are not merged
		{"/a//../b", "/a/b"},
		{"/a/.../b", "/a/.../b"},
		{"/a/..b/.c", "/a/..b/.c"},
		{"/.well-known/x", "/.well-known/x"},
		{"/a%2f..%2fb", "/a%2f..%2fb"}, // an encoded slash is none
		{"/a%2Fb/../c", "/c"},
		{"/%41", "/%41"},
		{"*", "*"},
	}
	for _, tt := range tests {
		if got, ok := normalised(tt.path); got != tt.want || !ok {
			t.Errorf("%s is %s (%v), want %s", tt.path, got, ok, tt.want)
		}
	}
	if _, ok := normalised("/a%00b"); ok {
		t.Error("an encoded NUL was let through")
	}
}

func normalised(path string) (string, bool) {
	e := &exchange{on: &local{}}
	e.req = &message.Request{Path: path}
	ok := e.normalise()
	return e.req.Path, ok
}
