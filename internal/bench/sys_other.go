//go:build !linux

package main

import (
	"errors"
	"time"
)

func useCubic(uintptr) error { return errors.New("the choice of a congestion control takes Linux") }

func processorTime() (time.Duration, error) { return 0, errors.New("processor time takes Linux") }
