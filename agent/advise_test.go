package agent_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"

	"github.com/gridloop/gridloop/agent"
)

// The doctor advises by a log of step records, which it reads without this package: a
// record in its test data must be one, field by field.
func TestTheDoctorReadsStepRecords(t *testing.T) {
	b, err := os.ReadFile("../grid/doctor/testdata/step.json")
	if err != nil {
		t.Fatal(err)
	}
	var rec agent.StepRecord
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&rec); err != nil {
		t.Fatalf("a field that the doctor reads is none of a record: %v", err)
	}
	out, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	var want, got map[string]any
	if json.Unmarshal(b, &want) != nil || json.Unmarshal(out, &got) != nil {
		t.Fatal("not JSON")
	}
	for name, v := range want {
		if !reflect.DeepEqual(got[name], v) {
			t.Errorf("%s: the doctor reads %v, a record writes %v", name, v, got[name])
		}
	}
}
