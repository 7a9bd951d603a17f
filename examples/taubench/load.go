package main

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/gridloop/gridloop/examples/airline"
	"github.com/gridloop/gridloop/examples/internal/tau"
)

// A recording is a conversation with the database it was recorded on.
type recording struct {
	*tau.Conversation
	name   string // unique; also the tenant of its runs
	origin *airline.DB
}

// load finds all recordings, and reads each database that they need once.
func load(data string) ([]*recording, error) {
	dir := filepath.Join(data, "airline")
	files, err := filepath.Glob(filepath.Join(dir, "*", "trajectories_*.jsonl"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	origins := make(map[string]*airline.DB)
	var all []*recording
	for _, file := range files {
		conversations, err := tau.ReadConversations(file)
		if err != nil {
			return nil, err
		}
		for _, c := range conversations {
			users := cmp.Or(c.Replay.UsersDB, filepath.Join("db", "users.json"))
			if !filepath.IsLocal(users) {
				return nil, fmt.Errorf("%s, line %d: the table of users is not within %s", file, c.Line, dir)
			}
			if origins[users] == nil {
				if origins[users], err = airline.Load(filepath.Join(dir, "db"), filepath.Join(dir, users)); err != nil {
					return nil, err
				}
			}
			all = append(all, &recording{c, fmt.Sprintf("conversation-%d", len(all)+1), origins[users]})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("there is no airline/*/trajectories_*.jsonl under -data")
	}
	return all, nil
}

// said are the recorded messages of the model, in order.
func (r *recording) said() []tau.Message {
	var all []tau.Message
	for _, m := range r.Messages {
		if m.Role == "assistant" {
			all = append(all, m)
		}
	}
	return all
}

// isLast says whether the model wrote nothing behind message i.
func (r *recording) isLast(i int) bool {
	return !slices.ContainsFunc(r.Messages[i+1:], func(m tau.Message) bool { return m.Role == "assistant" })
}
