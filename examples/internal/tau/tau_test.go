package tau

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBothSpellingsOfAnActionAreRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tasks.json")
	if err := os.WriteFile(file, []byte(`[{"task_id": 4, "outputs": ["1"], "expected_final": {"norm_hash": "n", "python_hash": "p"}, "actions": [
		{"name": "a", "arguments": {"b": 1, "a": 2}, "observation": "o"}, {"name": "b", "kwargs": {"x": 1}}]}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	tasks, err := ReadTasks(file)
	if err != nil {
		t.Fatal(err)
	}
	a := tasks[0].Actions
	if string(a[0].Arguments) != `{"b": 1, "a": 2}` || *a[0].Observation != "o" || string(a[1].Arguments) != `{"x": 1}` || a[1].Observation != nil {
		t.Errorf("the actions are %+v", a)
	}
	if tasks[0].ID != 4 || tasks[0].Final != (Hashes{"p", "n"}) {
		t.Errorf("the task is %+v", tasks[0])
	}
	if _, err := ReadTasks(file + "gone"); err == nil {
		t.Error("a file that does not exist was read")
	}
}

func TestConversationsThatCannotBeReplayedAreNamed(t *testing.T) {
	const good = `{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}], "recorded_reward_info": null}`
	for _, row := range []struct{ name, lines, want string }{
		{"good, with an empty line", good + "\n\n" + good, ""},
		{"no JSON", good + "\n{", "line 2"},
		{"no system message", `{"messages": [{"role": "user"}, {"role": "user"}]}`, "line 1: a conversation begins"},
		{"no messages", `{}`, "line 1: a conversation begins"},
		{"a result of nothing", `{"messages": [{"role": "system"}, {"role": "user"}, {"role": "tool"}]}`, "message 2 answers no tool call"},
	} {
		t.Run(row.name, func(t *testing.T) {
			all, err := readConversations(strings.NewReader(row.lines))
			if row.want == "" && (err != nil || len(all) != 2 || all[1].Line != 3) {
				t.Errorf("%d conversations, %v", len(all), err)
			}
			if row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func FuzzReadConversations(f *testing.F) {
	f.Add(`{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": null, "tool_calls": [{}]}]}`)
	f.Add("{}\n[]")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := readConversations(strings.NewReader(s))
		for _, c := range all {
			if err == nil && len(c.Messages) < 2 {
				t.Errorf("%q is taken for a conversation", s)
			}
		}
	})
}
