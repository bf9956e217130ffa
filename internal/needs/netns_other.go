//go:build !linux

package needs

import "errors"

func tryNetns() error { return errors.ErrUnsupported }
