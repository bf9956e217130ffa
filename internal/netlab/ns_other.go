//go:build !linux

package netlab

import (
	"errors"
	"os"
)

// ns is a network namespace. There are none on this system.
type ns struct{ file *os.File }

func (n *ns) open() error                                { return errors.ErrUnsupported }
func (n *ns) release() error                             { return nil }
func (n *ns) where() string                              { return "nowhere" }
func (n *ns) tun(name string, mtu int) (*os.File, error) { return nil, errors.ErrUnsupported }
func (n *ns) links() (string, error)                     { return "", errors.ErrUnsupported }
func closed(error) bool                                  { return true }

// Do would run f inside the namespace.
func (n *ns) Do(func() error) error { return errors.ErrUnsupported }
