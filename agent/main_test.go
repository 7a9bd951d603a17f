package agent_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives its run. A process that the benchmark started has a
// role of its own and runs no test.
func TestMain(m *testing.M) {
	if playedRole() {
		return
	}
	goleak.VerifyTestMain(m)
}
