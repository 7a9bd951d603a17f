package redisstore

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the worker that the crash tests kill: the test binary, started again.
func TestMain(m *testing.M) {
	if what := os.Getenv(workerEnv); what != "" {
		os.Exit(work(what))
	}
	goleak.VerifyTestMain(m)
}
