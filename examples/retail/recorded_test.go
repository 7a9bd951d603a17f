package retail

import (
	"path/filepath"
	"testing"

	"github.com/gridloop/gridloop/examples/internal/tautest"
)

func TestGroundTruthEndsAsRecorded(t *testing.T) {
	dir := filepath.Join(tautest.Dir(t), "retail")
	origin, err := Load(filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "tasks_*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tasks under %s (%v)", dir, err)
	}
	tasks, observations := tautest.Domain[*DB]{Origin: origin, Tools: Tools}.GroundTruth(t, files...)
	t.Logf("%d tasks, %d observations", tasks, observations)
}
