package manifest

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"
)

// A notifier hears from the kernel what happens in directories. It uses
// inotify itself, as portable packages keep back the one event that matters
// most here: that a writer has closed a file.
type notifier struct {
	file *os.File // non-blocking: a Read waits in the runtime's poller
	fd   int
}

// An event is something that happened to a name in a watched directory, or to
// the directory itself (no name).
type event struct {
	watch int32
	mask  uint32
	name  string
}

func newNotifier() (*notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	return &notifier{os.NewFile(uintptr(fd), "inotify"), fd}, nil
}

// What a watch may tell of.
const (
	written = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_ATTRIB
	moved   = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE |
		unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
)

// add watches a directory for events, besides those that it is watched for
// already, and returns the number that they bear. The same directory has one
// number, however often it is added.
func (n *notifier) add(dir string, events uint32) (int32, error) {
	watch, err := unix.InotifyAddWatch(n.fd, dir, events|unix.IN_ONLYDIR|unix.IN_MASK_ADD)
	return int32(watch), os.NewSyscallError("inotify_add_watch", err)
}

// remove ends a watch. One whose directory is gone has ended already.
func (n *notifier) remove(watch int32) { unix.InotifyRmWatch(n.fd, uint32(watch)) }

func (n *notifier) close() { n.file.Close() }

// listen sends what happens, as much at once as there is, until the notifier
// is closed or ctx is done.
func (n *notifier) listen(ctx context.Context, to chan<- []event) {
	buffer := make([]byte, 64<<10)
	for {
		size, err := n.file.Read(buffer)
		if err != nil {
			return
		}
		select {
		case to <- parseEvents(buffer[:size]):
		case <-ctx.Done():
			return
		}
	}
}

// parseEvents reads struct inotify_event, one after another (inotify(7)).
func parseEvents(b []byte) []event {
	var events []event
	for len(b) >= unix.SizeofInotifyEvent {
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		if size > len(b) {
			break
		}
		name, _, _ := bytes.Cut(b[unix.SizeofInotifyEvent:size], []byte{0})
		events = append(events, event{
			watch: int32(binary.NativeEndian.Uint32(b)),
			mask:  binary.NativeEndian.Uint32(b[4:]),
			name:  string(name),
		})
		b = b[size:]
	}
	return events
}
