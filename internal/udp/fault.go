package udp

import (
	"errors"
	"syscall"
)

// IsLocalFault reports whether a send error says that this host cannot send on that pair of addresses now, whatever the
// network beyond would do: the source address or the link is gone, there is no route, a local rule forbids it. Such an
// error is evidence about the path at once, and the next packet on it will fare no better.
func IsLocalFault(err error) bool {
	if errors.Is(err, ErrPeer) {
		return true
	}
	no, ok := errnoOf(err)
	return ok && localFault(no)
}

// IsTooBig reports whether a send error says that the packet is larger than the link it would leave by and must not be
// fragmented. Linux takes packets up to the link's MTU when DF is set; what routers think of them is PMTU discovery's
// matter.
func IsTooBig(err error) bool {
	no, ok := errnoOf(err)
	return ok && tooBig(no)
}

func errnoOf(err error) (syscall.Errno, bool) {
	if no, ok := err.(syscall.Errno); ok {
		return no, true
	}
	var no syscall.Errno
	ok := errors.As(err, &no)
	return no, ok
}
