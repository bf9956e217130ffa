package interop

import (
	"os/exec"
	"syscall"
)

// dieWithParent makes sure that nothing is left behind when the tests are killed.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
