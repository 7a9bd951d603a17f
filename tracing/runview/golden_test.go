package runview

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the expected pictures anew, to be looked at before they are kept")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	a, b := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(a), len(b)) {
		if !bytes.Equal(a[i], b[i]) {
			t.Fatalf("%s, line %d:\n got %s\nwant %s\nRun the test with -update, and look at what it writes.", path, i+1, a[i], b[i])
		}
	}
	t.Fatalf("%s has %d lines, want %d: run the test with -update, and look at what it writes", path, len(a), len(b))
}

func svg(t testing.TB, e *Exporter, index int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.WriteSVG(&b, index); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func html(t testing.TB, e *Exporter) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestThePictureOfTheREADMEIsTrue(t *testing.T) {
	golden(t, filepath.Join("..", "..", "docs", "run.svg"), svg(t, recordedDesk(t), -1))
}

func TestThePageOfOneRun(t *testing.T) {
	golden(t, filepath.Join("testdata", "desk.html"), html(t, recordedDesk(t)))
}

func TestThePageOfRunsOfEveryKind(t *testing.T) {
	golden(t, filepath.Join("testdata", "family.html"), html(t, recordedFamily(t)))
}
