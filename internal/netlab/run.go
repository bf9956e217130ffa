package netlab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Run runs a program inside the host and returns what it printed on both outputs. An error holds that text too.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return h.run(exec.CommandContext(ctx, name, args...))
}

// Start starts a prepared command inside the host. Waiting for it and ending it are the caller's.
func (h *Host) Start(cmd *exec.Cmd) error { return h.Do(cmd.Start) }

// RunA runs a program inside host A.
func (l *Lab) RunA(name string, args ...string) (string, error) {
	return l.A.Run(context.Background(), name, args...)
}

// RunB runs a program inside host B.
func (l *Lab) RunB(name string, args ...string) (string, error) {
	return l.B.Run(context.Background(), name, args...)
}

func (n *ns) run(cmd *exec.Cmd) (string, error) {
	var out bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout, cmd.Stderr = &out, &out
	}
	// A child is born into the network namespace of the thread that starts it.
	err := n.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(out.String()))
	}
	return out.String(), err
}

// ip runs a script of ip commands; files become its file descriptors from 3 on.
func (n *ns) ip(s *script, files ...*os.File) error { return n.batch(s, files, "ip", "-batch", "-") }

// ipOf runs a script of ip commands for one family, -4 or -6.
func (n *ns) ipOf(flag string, s *script) error { return n.batch(s, nil, "ip", flag, "-batch", "-") }

// nft replaces and adds rules in one step.
func (n *ns) nft(s *script) error { return n.batch(s, nil, "nft", "-f", "-") }

// tc runs a script of tc commands.
func (n *ns) tc(s *script) error { return n.batch(s, nil, "tc", "-batch", "-") }

func (n *ns) batch(s *script, files []*os.File, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(s.String())
	cmd.ExtraFiles = files
	if _, err := n.run(cmd); err != nil {
		return fmt.Errorf("%w\nin: %s", err, s.String())
	}
	return nil
}
