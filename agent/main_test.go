package agent_test

import (
	"testing"

	"go.uber.org/goleak"
)

// No goroutine outlives its run.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
