//go:build !linux

package udp

const batchSystem = false
