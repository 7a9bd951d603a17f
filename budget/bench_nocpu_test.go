//go:build !unix

package budget_test

import "time"

// cpuTime is not known here: the benchmark then shows no CPU.
func cpuTime() time.Duration { return 0 }
