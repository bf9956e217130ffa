package gate

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// newBell makes a bell of an event counter. Each addition wakes who waits for the file, whatever the counter was, so nobody
// has to read it.
func newBell() *bell {
	fd, _, errno := syscall.Syscall(syscall.SYS_EVENTFD2, 0, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil
	}
	b := &bell{file: os.NewFile(fd, "bell"), fd: int(fd)}
	var err error
	if b.raw, err = b.file.SyscallConn(); err == nil {
		err = b.file.SetReadDeadline(time.Time{}) // fails for a file that is not with the poller
	}
	if err != nil {
		b.file.Close()
		return nil
	}
	b.look = func(uintptr) bool { return b.rung.Load() != silent }
	return b
}

var one uint64 = 1

// strike never waits: the counter would have to be near its end.
func (b *bell) strike() {
	syscall.RawSyscall(syscall.SYS_WRITE, uintptr(b.fd), uintptr(unsafe.Pointer(&one)), 8)
}
