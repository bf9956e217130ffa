package transport_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives the tests: sockets close with the last association or listener that uses them.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
