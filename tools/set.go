package tools

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Set is the tools of one agent: sound, with names that differ, in the order
// they were given. It is immutable and safe for concurrent use.
// A nil Set is an empty one.
type Set struct {
	tools  []Tool
	byName map[string]int
}

// NewSet joins tools. The error holds every [Tool.Err] and every name that occurs
// twice.
func NewSet(tools ...Tool) (*Set, error) {
	s := &Set{tools: slices.Clone(tools), byName: make(map[string]int, len(tools))}
	var errs []error
	for i, t := range tools {
		if t.def == nil {
			errs = append(errs, fmt.Errorf("tool %d of the set: %w", i+1, t.Err()))
			continue
		}
		if err := t.Err(); err != nil {
			errs = append(errs, err)
		}
		if first, twice := s.byName[t.Name()]; twice {
			errs = append(errs, fmt.Errorf("tools: tool %q: tools %d and %d have this name: rename one", t.Name(), first+1, i+1))
			continue
		}
		s.byName[t.Name()] = i
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Len is how many tools there are.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.tools)
}

// Names are the names of the tools, in their order.
func (s *Set) Names() []string {
	names := make([]string, 0, s.Len())
	for _, t := range s.All() {
		names = append(names, t.Name())
	}
	return names
}

// All are the tools, in their order. The slice is the caller's.
func (s *Set) All() []Tool {
	if s == nil {
		return nil
	}
	return slices.Clone(s.tools)
}

// Lookup finds a tool by its exact name.
func (s *Set) Lookup(name string) (Tool, bool) {
	if s == nil {
		return Tool{}, false
	}
	i, ok := s.byName[name]
	if !ok {
		return Tool{}, false
	}
	return s.tools[i], true
}

// Call calls the tool of that name, see [Tool.Call]. A name that does not exist
// is answered with [StatusUnknownTool] and the names that do.
func (s *Set) Call(ctx context.Context, name string, args json.RawMessage) Result {
	t, ok := s.Lookup(name)
	if !ok {
		return s.unknown(name)
	}
	return t.Call(ctx, args)
}

func (s *Set) unknown(name string) Result {
	content := fmt.Sprintf("error: there is no tool %s.", literal(name, maxShort))
	if s.Len() == 0 {
		content += " There are no tools: answer without one."
	} else {
		content += " The tools are: " + strings.Join(s.Names(), ", ") + ". Call one of these by its exact name, or answer without a tool."
	}
	// The name is the model's own words, so the error leaves it out.
	return Result{Status: StatusUnknownTool, Content: content, Err: errors.New("tools: the model called a tool that does not exist")}
}
