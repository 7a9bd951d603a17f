package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheProgramDrawsWhatItDid runs the whole program on its simulated market.
func TestTheProgramDrawsWhatItDid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "run.html")
	if err := run(t.Context(), false, file); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, want := range []string{
		"2 runs · 1 completed · 1 stopped at a limit", "refund-desk", "researcher", "agent-max", "text-standard", "rule plan-on-max",
		"default for extract", "topped up after", "invalid arguments", "cap left", "stopped at its cap", "last word", "shipping_status",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(page, "under way") || strings.Contains(page, "no call was recorded") {
		t.Error("a run is not whole")
	}
}

func TestThePageCanBeTurnedOff(t *testing.T) {
	off := newTrace("off", 0)
	if off.Tracing != nil {
		t.Error("something is traced")
	}
	if err := off.write(t.Context()); err != nil {
		t.Error(err)
	}
}
