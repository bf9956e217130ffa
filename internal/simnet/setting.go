package simnet

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Set changes one property of a shape by a word such as "delay=10ms", "loss=0.01", "rate=10mbit", "queue=64KB",
// "mask=0x11", "mtu=1280", "down" or "up". "perfect" takes every property back.
func (s *Shape) Set(word string) error {
	key, val, _ := strings.Cut(word, "=")
	var err error
	switch key {
	case "perfect":
		*s = Shape{}
	case "down":
		s.Down = true
	case "up":
		s.Down = false
	case "rate":
		s.Rate, err = parseRate(val)
	case "queue":
		s.Queue, err = ParseSize(val)
	case "mtu":
		s.MTU, err = ParseSize(val)
	case "delay":
		s.Delay, err = time.ParseDuration(val)
	case "jitter":
		s.Jitter, err = time.ParseDuration(val)
	case "reorderby":
		s.ReorderBy, err = time.ParseDuration(val)
	case "loss":
		s.Loss, err = parseChance(val)
	case "reorder":
		s.Reorder, err = parseChance(val)
	case "duplicate":
		s.Duplicate, err = parseChance(val)
	case "corrupt":
		s.Corrupt, err = parseChance(val)
	case "burst":
		s.Burst, err = strconv.Atoi(val)
	case "mask":
		s.Mask, err = strconv.ParseUint(val, 0, 64)
	default:
		return fmt.Errorf("simnet: unknown link property %q", word)
	}
	if err != nil {
		return fmt.Errorf("simnet: link property %q: %w", word, err)
	}
	return nil
}

// Set changes every direction that pattern names, as in Set("a1-b1", "delay=10ms", "loss=1%"). A pattern that names none
// is an error.
func (n *Network) Set(pattern string, words ...string) error {
	links := n.Links(pattern)
	if len(links) == 0 {
		return fmt.Errorf("simnet: no link %q", pattern)
	}
	for _, l := range links {
		for _, w := range words {
			if err := l.Shape.Set(w); err != nil {
				return err
			}
		}
	}
	return nil
}

// ParseSize reads a number of bytes with an optional unit: "1200", "64KB" (64,000), "64KiB" (65,536), "1MB", "1MiB".
func ParseSize(s string) (int, error) {
	for _, u := range []struct {
		suffix string
		factor int
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"KB", 1e3}, {"MB", 1e6}, {"B", 1}, {"", 1}} {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			n, err := strconv.Atoi(num)
			if err == nil && n < 0 {
				err = strconv.ErrRange
			}
			return n * u.factor, err
		}
	}
	return 0, strconv.ErrSyntax
}

func parseRate(s string) (int64, error) {
	for _, u := range []struct {
		suffix string
		factor float64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"", 1}} {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			f, err := strconv.ParseFloat(num, 64)
			if err == nil && f < 0 {
				err = strconv.ErrRange
			}
			return int64(f * u.factor), err
		}
	}
	return 0, strconv.ErrSyntax
}

func parseChance(s string) (float64, error) {
	num, percent := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(num, 64)
	if percent {
		f /= 100
	}
	if err == nil && (f < 0 || f > 1) {
		err = strconv.ErrRange
	}
	return f, err
}

// Seed returns the seed a test should use: the one in the environment variable MULTIHOME_SEED, to replay a failure, or
// else fallback.
func Seed(fallback uint64) uint64 {
	if v, err := strconv.ParseUint(os.Getenv("MULTIHOME_SEED"), 0, 64); err == nil {
		return v
	}
	return fallback
}
