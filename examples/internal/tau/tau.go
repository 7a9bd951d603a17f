// Package tau reads what the benchmark tau-bench recorded: tasks with the actions
// that solve them, and conversations.
package tau

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// An Action is one tool call.
type Action struct {
	Name      string
	Arguments json.RawMessage
	// Observation is what the tool answered; nil where nothing was recorded.
	Observation *string
}

// UnmarshalJSON reads both spellings of an action, "arguments" and "kwargs".
func (a *Action) UnmarshalJSON(b []byte) error {
	var in struct {
		Name              string
		Arguments, Kwargs json.RawMessage
		Observation       *string
	}
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*a = Action{in.Name, in.Arguments, in.Observation}
	if a.Arguments == nil {
		a.Arguments = in.Kwargs
	}
	return nil
}

// Hashes are those of a whole database.
type Hashes struct {
	Python string `json:"python_hash"`
	Norm   string `json:"norm_hash"`
}

// A Task is what a customer wants and what would be right to do.
type Task struct {
	ID      int      `json:"task_id"`
	Actions []Action `json:"actions"`
	Outputs []string `json:"outputs"` // what the customer must be told
	// Final is the database after the actions, in files of tasks.
	Final Hashes `json:"expected_final"`
}

// ReadTasks reads a file of tasks.
func ReadTasks(file string) ([]Task, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("tau: %w", err)
	}
	var tasks []Task
	if err := json.Unmarshal(text, &tasks); err != nil {
		return nil, fmt.Errorf("tau: %s: %w", file, err)
	}
	return tasks, nil
}

// A Message is one of a recorded conversation.
type Message struct {
	Role       string  `json:"role"`
	Content    *string `json:"content"`
	Name       string  `json:"name"`
	ToolCallID string  `json:"tool_call_id"`
	ToolCalls  []Call  `json:"tool_calls"`
}

// A Call is a tool call in a message.
type Call struct {
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// Text is the content, "" where there is none.
func (m Message) Text() string {
	if m.Content == nil {
		return ""
	}
	return *m.Content
}

// A Conversation is one recording, with what came of it.
type Conversation struct {
	File     string `json:"-"`
	Line     int    `json:"-"`
	TaskID   int    `json:"task_id"`
	Trial    int    `json:"trial"`
	Model    string `json:"model"`
	Task     Task   `json:"task"`
	Messages []Message
	Reward   float64 `json:"recorded_reward"`
	Recorded struct {
		// Info holds what the recorder itself wrote, gt_data_hash among others.
		Info struct {
			GroundTruth string `json:"gt_data_hash"`
		} `json:"info"`
	} `json:"recorded_reward_info"`
	// Replay is what the reference tools came to.
	Replay struct {
		UsersDB     string `json:"users_db"` // the table of users it was recorded with
		Final       Hashes `json:"final"`
		GroundTruth Hashes `json:"ground_truth"`
		Finished    bool   `json:"finished"`
	} `json:"replay"`
}

// maxLine bounds a line of a file of conversations.
const maxLine = 64 << 20

// ReadConversations reads a file with one conversation a line.
func ReadConversations(file string) ([]*Conversation, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("tau: %w", err)
	}
	defer f.Close()
	all, err := readConversations(f)
	if err != nil {
		return nil, fmt.Errorf("tau: %s: %w", file, err)
	}
	for _, c := range all {
		c.File = file
	}
	return all, nil
}

func readConversations(r io.Reader) ([]*Conversation, error) {
	var all []*Conversation
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<20), maxLine)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		c := &Conversation{Line: n}
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, c)
	}
	return all, lines.Err()
}

// check says whether the conversation can be replayed.
func (c *Conversation) check() error {
	if len(c.Messages) < 2 || c.Messages[0].Role != "system" || c.Messages[1].Role != "user" {
		return errors.New("a conversation begins with a system message and a user's")
	}
	for i, m := range c.Messages {
		if m.Role == "tool" && (i == 0 || len(c.Messages[i-1].ToolCalls) == 0) {
			return fmt.Errorf("message %d answers no tool call", i)
		}
	}
	return nil
}
