package needs

import (
	"os"
	"strconv"
	"time"
)

// SeedVariable names the environment variable that gives random tests their seed, to replay a failure.
const SeedVariable = "MULTIHOME_SEED"

// Seed returns the seed a random test should use, the one of the environment or a new one, and logs it.
func Seed(t interface {
	Helper()
	Logf(format string, args ...any)
}) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv(SeedVariable), 0, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("%s=%d", SeedVariable, seed)
	return seed
}
