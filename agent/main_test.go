package agent_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives its run. A process that the benchmark started to be its
// server is no test.
func TestMain(m *testing.M) {
	if servedScript() {
		return
	}
	goleak.VerifyTestMain(m)
}
