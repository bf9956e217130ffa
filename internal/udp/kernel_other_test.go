//go:build !linux && (unix || windows)

package udp

const batchSystem = false
