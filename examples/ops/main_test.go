package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheExampleShowsTheStopButton(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err, out.String())
	}
	for _, want := range []string{`"tenant": "acme"`, `"runway_s"`, "2 runs are paused", `"paused": "frozen"`, `"old": 2000000000`, `"by": "ann"`, `"unexplained"`, "a run goes on"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
}
