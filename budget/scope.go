package budget

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The kinds of scope. A label of the service's own is a tag: [Tag]("team") is the kind "tag:team".
const (
	ScopeAccount    = "account"
	ScopeTenant     = "tenant"
	ScopeUser       = "user"
	ScopeRun        = "run"
	ScopeAgent      = "agent"
	ScopeInstrument = "instrument"
	ScopeFamily     = "family"
	ScopeTier       = "tier"
	ScopeTool       = "tool"
)

const tagPrefix = "tag:"

// Tag is the scope kind of the tag called key: lower-case letters, digits, - and _.
func Tag(key string) string { return tagPrefix + key }

// Scope is one thing a spend belongs to: {"tenant", "acme"}, {"instrument", "agent-max"}, {"account", ""}. Kind and name
// never mix: the tenant "a/instrument:x" is a tenant and nothing else.
type Scope struct{ Kind, Name string }

// String is the scope as text, its name escaped: "tenant acme", "account". Two scopes have the same text only if they are
// the same scope.
func (s Scope) String() string {
	if s.Kind == ScopeAccount {
		return ScopeAccount
	}
	return s.Kind + " " + escape(s.Name)
}

// Validate reports an unknown kind or a missing name as a [*FieldError].
func (s Scope) Validate() error {
	switch {
	case !validKind(s.Kind):
		return &FieldError{Field: "Scope.Kind", Problem: fmt.Sprintf("%q is no kind of scope", clip(s.Kind)), Fix: kindsFix}
	case s.Kind == ScopeAccount && s.Name != "":
		return &FieldError{Field: "Scope.Name", Problem: "the account has no name here", Fix: "leave Name empty; Config.Account names the account"}
	case s.Kind != ScopeAccount && s.Name == "":
		return &FieldError{Field: "Scope.Name", Problem: fmt.Sprintf("a %s without a name", s.Kind), Fix: "name it, or leave the scope out"}
	case len(s.Name) > maxName:
		return &FieldError{Field: "Scope.Name", Problem: fmt.Sprintf("a %s name of %d bytes", s.Kind, len(s.Name)), Fix: fmt.Sprintf("use at most %d", maxName)}
	}
	return nil
}

const (
	maxName  = 512
	kindsFix = "write account, tenant, user, run, agent, instrument, family, tier, tool or tag:name"
)

func validKind(kind string) bool {
	switch kind {
	case ScopeAccount, ScopeTenant, ScopeUser, ScopeRun, ScopeAgent, ScopeInstrument, ScopeFamily, ScopeTier, ScopeTool:
		return true
	}
	key, ok := strings.CutPrefix(kind, tagPrefix)
	return ok && plainName(key)
}

// labels reports whether a kind says on whose behalf money is spent. Under a cap for each of such a kind, a request
// without the label is refused; a kind that says what is used (an instrument, a tool) is simply absent from calls that
// use none.
func labels(kind string) bool {
	return kind == ScopeTenant || kind == ScopeUser || kind == ScopeRun || strings.HasPrefix(kind, tagPrefix)
}

func compareScopes(a, b Scope) int {
	return cmp.Or(strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// canonical sorts scopes into s[:0], each once, with the account among them.
func canonical(s, scopes []Scope) []Scope {
	s = append(append(s[:0], Scope{Kind: ScopeAccount}), scopes...)
	slices.SortFunc(s, compareScopes)
	return slices.Compact(s)
}

// maxConditions is how many kinds one cap may join.
const maxConditions = 3

// Target says whose spending a cap limits: one named scope, each scope of a kind on its own, or several such conditions at
// once. Make it with [One], [Each], [Account] and [Target.And], or read it with [ParseTarget]. The zero Target is invalid.
type Target struct{ conditions []condition }

type condition struct {
	scope Scope
	each  bool
}

// One limits a single scope: One("instrument", "agent-max").
func One(kind, name string) Target {
	return Target{[]condition{{scope: Scope{Kind: kind, Name: name}}}}
}

// Each limits every scope of a kind, each with its own count: Each("tenant").
func Each(kind string) Target {
	return Target{[]condition{{scope: Scope{Kind: kind}, each: true}}}
}

// Account limits everything spent through the account together.
func Account() Target { return One(ScopeAccount, "") }

// And narrows t: Each("tenant").And(One("instrument", "agent-max")) limits what each tenant spends on that instrument. At
// most three conditions, each of another kind.
func (t Target) And(u Target) Target {
	joined := slices.Concat(t.conditions, u.conditions)
	slices.SortStableFunc(joined, func(a, b condition) int { return strings.Compare(a.scope.Kind, b.scope.Kind) })
	return Target{joined}
}

// String is the target as [ParseTarget] reads it: "each tenant", "instrument agent-max", "account", "instrument agent-max
// and each tenant".
func (t Target) String() string {
	var b strings.Builder
	for i, c := range t.conditions {
		if i > 0 {
			b.WriteString(" and ")
		}
		if c.each {
			b.WriteString("each " + c.scope.Kind)
		} else {
			b.WriteString(c.scope.String())
		}
	}
	return b.String()
}

// ParseTarget reads "account", "each tenant", "instrument agent-max", or several of them joined by "and". A blank, % or
// control character inside a name is written %20, %25 and so on. Errors are [*FieldError]s.
func ParseTarget(s string) (Target, error) {
	var t Target
	bad := func(problem, fix string) (Target, error) {
		return Target{}, &FieldError{Field: "For", Problem: problem, Fix: fix}
	}
	const form = `write "account", "each tenant" or "instrument agent-max", joined by "and"`
	words := strings.Fields(s)
	for i := 0; i < len(words); {
		switch {
		case words[i] == ScopeAccount:
			t = t.And(Account())
			i++
		case i+1 >= len(words):
			return bad(fmt.Sprintf("%q stops short", clip(s)), form)
		case words[i] == "each":
			t = t.And(Each(words[i+1]))
			i += 2
		default:
			name, ok := unescape(words[i+1])
			if !ok {
				return bad(fmt.Sprintf("%q has a %% that begins no escape", clip(words[i+1])), "write %25 for a percent sign")
			}
			t = t.And(One(words[i], name))
			i += 2
		}
		if i < len(words) {
			if words[i] != "and" || i+1 == len(words) {
				return bad(fmt.Sprintf("%q is not understood after %q", clip(words[i]), t), form)
			}
			i++
		}
	}
	if err := t.Validate(); err != nil {
		return Target{}, err
	}
	return t, nil
}

// Validate reports what is wrong with the target, all of it, as [*FieldError]s.
func (t Target) Validate() error {
	var errs fieldErrors
	if len(t.conditions) == 0 {
		errs.add("For", "nobody is named", "write budget.Account(), budget.Each(kind) or budget.One(kind, name)")
	}
	if len(t.conditions) > maxConditions {
		errs.add("For", fmt.Sprintf("%d conditions", len(t.conditions)), fmt.Sprintf("join at most %d", maxConditions))
	}
	for i, c := range t.conditions {
		if i > 0 && t.conditions[i-1].scope.Kind == c.scope.Kind {
			errs.add("For", fmt.Sprintf("%s is named twice", clip(c.scope.Kind)), "name each kind once, or write two caps")
		}
		switch {
		case c.scope.Kind == ScopeAccount && (c.each || len(t.conditions) > 1):
			errs.add("For", "the account is everything there is", "write budget.Account() alone, or leave it out")
		case c.each && !validKind(c.scope.Kind):
			errs.add("For", fmt.Sprintf("%q is no kind of scope", clip(c.scope.Kind)), kindsFix)
		case !c.each:
			if err := c.scope.Validate(); err != nil {
				errs.wrap("For", err)
			}
		}
	}
	return errs.join()
}

// Covers reports whether the target's condition on the scope's kind, if it has one, takes in the scope.
func (t Target) Covers(s Scope) bool {
	for _, c := range t.conditions {
		if c.scope.Kind == s.Kind {
			return c.matches(s)
		}
	}
	return true
}

// Names reports whether the target names a scope of this kind, each or one.
func (t Target) Names(kind string) bool {
	return slices.ContainsFunc(t.conditions, func(c condition) bool { return c.scope.Kind == kind })
}

// Only is the scope that the target names, false when it names several, or each of a kind.
func (t Target) Only() (Scope, bool) {
	if len(t.conditions) != 1 || t.conditions[0].each {
		return Scope{}, false
	}
	return t.conditions[0].scope, true
}

// Anchor is the scope that every request under this target names, false when there is none (an account's cap, or one for
// each). A store keeps the version of a cap by its anchor, so that a cap made for one run disturbs nobody else.
//
// A tool is no anchor: who only asks about tools if a cap counts them must hear of the first such cap by other requests.
func (t Target) Anchor() (Scope, bool) {
	var anchor Scope
	found := false
	for _, c := range t.conditions {
		if c.each || c.scope.Kind == ScopeAccount || c.scope.Kind == ScopeTool {
			continue
		}
		if !found || c.scope.Kind == ScopeRun {
			anchor, found = c.scope, true
		}
	}
	return anchor, found
}

// foremost is the scope of a joined cap that says most: the first that labels whose money it is, else the first.
func foremost(scopes []Scope) Scope {
	if i := slices.IndexFunc(scopes, func(s Scope) bool { return labels(s.Kind) }); i >= 0 {
		return scopes[i]
	}
	return scopes[0]
}

const hexDigits = "0123456789ABCDEF"

// escape makes a name one word. Everything outside printable ASCII is escaped too, so that no name can disturb a terminal
// or a log line.
func escape(name string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '%' }
	clean := true
	for i := range len(name) {
		clean = clean && plain(name[i])
	}
	if clean {
		return name
	}
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; plain(c) {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		hi, lo := strings.IndexByte(hexDigits, upper(s[i+1])), strings.IndexByte(hexDigits, upper(s[i+2]))
		if hi < 0 || lo < 0 {
			return "", false
		}
		b.WriteByte(byte(hi<<4 | lo))
		i += 2
	}
	return b.String(), true
}

func upper(c byte) byte {
	if c >= 'a' && c <= 'f' {
		return c - 'a' + 'A'
	}
	return c
}
