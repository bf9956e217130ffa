package netlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"golang.org/x/sys/unix"
)

// ns is a network namespace without a name, held by an open file.
type ns struct{ file *os.File }

const threadNS = "/proc/thread-self/ns/net"

// open makes a new namespace.
func (n *ns) open() error {
	return apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("making a network namespace: %w", err)
		}
		f, err := os.Open(threadNS)
		n.file = f
		return err
	})
}

// release lets the namespace go.
func (n *ns) release() error {
	if n.file == nil {
		return nil
	}
	return n.file.Close()
}

func (n *ns) where() string {
	return fmt.Sprintf("nsenter --net=/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

// Do runs f on a thread inside the namespace and returns its error. Sockets that f opens belong there for good and may
// be used from anywhere. Goroutines that f starts run outside, and so do those that package net starts to resolve names
// or to dial several addresses at once: dial literal addresses.
func (n *ns) Do(f func() error) error {
	return apart(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering a network namespace: %w", err)
		}
		return f()
	})
}

// apart runs f on a thread of its own whose network namespace f may change. The namespace it had is restored even if f
// panics or ends its goroutine; where that fails the thread ends with the goroutine, for it is no good to others.
func apart(f func() error) (err error) {
	home, err := os.Open(threadNS)
	if err != nil {
		return err
	}
	defer home.Close()
	runtime.LockOSThread()
	// The thread may have changed between opening the file and locking it, but both were in the same namespace: no
	// unlocked thread ever is in another one.
	defer func() {
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leaving a network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

// tun makes a TUN interface.
func (n *ns) tun(name string, mtu int) (f *os.File, err error) {
	err = n.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			return fmt.Errorf("making a TUN interface: %w", err)
		}
		f = os.NewFile(uintptr(fd), "tun "+name)
		return nil
	})
	return f, err
}

// links lists the interfaces, one a line, each line beginning with the name.
func (n *ns) links() (string, error) { return n.run(exec.Command("ip", "-brief", "link")) }

// closed reports whether an error of the TUN interface means that it is gone, rather than one bad packet.
func closed(err error) bool { return errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADFD) }
