// Package needs says what a test needs of the machine it runs on. Where that is missing the test is skipped with a message
// that says exactly what to install or who to be, or fails when the environment variable MULTIHOME_NO_SKIP is set, as it is
// where everything has been installed on purpose.
package needs

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// Variable names the environment variable under which a missing need is a failure. Empty and "0" count as unset.
const Variable = "MULTIHOME_NO_SKIP"

// T is the part of testing.TB that is used here.
type T interface {
	Helper()
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Missing ends a test for a need that has no function of its own here. The text says what is needed.
func Missing(t T, format string, args ...any) {
	t.Helper()
	missing(t, format, args...)
}

func missing(t T, format string, args ...any) {
	t.Helper()
	if v := os.Getenv(Variable); v != "" && v != "0" {
		t.Fatalf("with "+Variable+" set a test may not skip, but it "+format, args...)
		return
	}
	t.Skipf(format, args...)
}

// Linux asks for a Linux kernel.
func Linux(t T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		missing(t, "needs Linux, and this is %s", runtime.GOOS)
	}
}

// Root asks for the rights of the superuser, at least those within a user namespace.
func Root(t T) {
	t.Helper()
	if id := os.Geteuid(); id != 0 {
		missing(t, "needs root, and this is user %d (unshare -Urn may do)", id)
	}
}

// Program asks for a program in the search path. pkg is the Debian package that brings it.
func Program(t T, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		missing(t, "needs the program %s: apt-get install %s", name, pkg)
	}
}

// File asks for a file that a package of the system brings.
func File(t T, path, pkg string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, "needs the file %s: apt-get install %s", path, pkg)
	}
}

// Address asks for an address that a socket of this machine can be bound to, such as ::1 or 127.0.0.2.
func Address(t T, addr netip.Addr) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err != nil {
		missing(t, "needs the address %v: %v", addr, err)
		return
	}
	c.Close()
}

// netnsErr is why no network namespace can be made, tried once per process.
var netnsErr = sync.OnceValue(tryNetns)

// Netns asks for what the network laboratory takes: Linux, the right to make network namespaces
// and TUN interfaces, ip, tc and nft.
func Netns(t T) {
	t.Helper()
	Linux(t)
	Root(t)
	Program(t, "ip", "iproute2")
	Program(t, "tc", "iproute2")
	Program(t, "nft", "nftables")
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		missing(t, "needs TUN interfaces: %v", err)
	} else {
		f.Close()
	}
	if err := netnsErr(); err != nil {
		missing(t, "needs the right to make network namespaces: %v", err)
	}
}
