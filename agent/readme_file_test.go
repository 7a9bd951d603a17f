package agent_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gridloop/gridloop/agent"
	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
)

func TestReadmeFileIsTaken(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, file, _ := strings.Cut(string(readme), "```yaml\n")
	file, _, ok := strings.Cut(file, "```")
	if !ok {
		t.Fatal("the README shows no file")
	}
	client, err := grid.New(grid.Config{APIKey: "test-key"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	a, err := agent.New(agent.Config{
		Name: "a", Market: client, File: "gridloop.yaml", FS: fstest.MapFS{"gridloop.yaml": {Data: []byte(file)}},
		Store: budget.NewMemory(budget.Volatile()),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Shutdown(context.Background())
	for _, want := range []string{"$0.5", "day Europe/Berlin", "each tenant", "plan-on-max", "$4.00", "5m0s"} {
		if !strings.Contains(a.Explain(), want) {
			t.Errorf("Explain does not say %q:\n%s", want, a.Explain())
		}
	}
	t.Log(a.Explain())
}
