package netmon

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// cookie identifies a network namespace for as long as the machine runs.
type cookie uint64

// namespace names the network namespace of a socket, or of the calling thread if there is none. Where the kernel does not
// tell (before Linux 5.14) the watch w itself is the name, so that it shares its watcher with nobody.
func namespace(raw syscall.RawConn, w *Watch) any {
	c, err := cookieOf(raw)
	if raw == nil {
		c, err = cookieHere()
	}
	if err != nil {
		return w
	}
	return c
}

func cookieOf(raw syscall.RawConn) (c cookie, err error) {
	if raw == nil {
		return 0, unix.EINVAL
	}
	var inner error
	err = raw.Control(func(fd uintptr) {
		var v uint64
		v, inner = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		c = cookie(v)
	})
	if err == nil {
		err = inner
	}
	return c, err
}

// cookieHere asks for the namespace of the calling thread.
func cookieHere() (cookie, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	v, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	return cookie(v), err
}

// open watches the network namespace of a socket. Where netlink is denied the interfaces are looked at as elsewhere, but in
// the namespace of the process only.
func open(raw syscall.RawConn, on *watcher) (source, error) {
	here, errHere := cookieHere()
	there, errThere := cookieOf(raw)
	other := raw != nil && errHere == nil && errThere == nil && here != there
	ns := 0
	if other {
		f, err := namespaceOf(raw)
		if err != nil {
			return nil, fmt.Errorf("netmon: network namespace of a socket: %w", err)
		}
		defer f.Close()
		ns = int(f.Fd())
	}
	src, err := openNetlink(ns, on)
	if err != nil && !other && homely(here) {
		return openPoller(on, pollEvery)
	}
	return src, err
}

// homely reports whether a namespace is the one most threads of the process are in.
func homely(here cookie) bool {
	home := make(chan cookie, 1)
	go func() { // on a thread that nobody has locked into another namespace
		c, _ := cookieHere()
		home <- c
	}()
	return <-home == here
}

// namespaceOf opens the namespace of a socket. It takes the right to administer it, as entering it does.
func namespaceOf(raw syscall.RawConn) (*os.File, error) {
	var errno syscall.Errno
	var ns uintptr
	err := raw.Control(func(fd uintptr) {
		ns, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, unix.SIOCGSKNS, uintptr(unsafe.Pointer(nil)))
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, errno
	}
	return os.NewFile(ns, "network namespace"), nil
}
