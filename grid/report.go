package grid

import (
	"fmt"
	"strings"
)

// Level says how bad a finding is.
type Level string

// How bad a finding is.
const (
	LevelOK   Level = "ok"
	LevelNote Level = "note" // nothing is wrong, or nobody can see whether it is
	LevelWarn Level = "warn" // it works, and will stop working
	LevelFail Level = "fail" // it does not work
)

// Finding is one thing that Check looked at.
type Finding struct {
	Subject string // key, base url, redirect, balance agent-prime, ...
	Level   Level
	// Text says what was found, Mend what to do about it; Mend is "" where nothing is to
	// be done. Neither holds a key.
	Text, Mend string
}

// Report is what Check found.
type Report struct {
	Findings []Finding
	// Models is the market's list; nil where it could not be read.
	Models []Model
	// Credits, Balances and Settings are what the trading credentials show; nil without.
	Credits  *Credits
	Balances []Balance
	Settings *Settings
}

// Worst is the level of the worst finding.
func (r *Report) Worst() Level {
	worst := LevelOK
	order := map[Level]int{LevelOK: 0, LevelNote: 1, LevelWarn: 2, LevelFail: 3}
	for _, f := range r.Findings {
		if order[f.Level] > order[worst] {
			worst = f.Level
		}
	}
	return worst
}

// String prints the report for people, a finding and its mend on lines of their own.
func (r *Report) String() string {
	width := 0
	for _, f := range r.Findings {
		width = max(width, len(f.Subject))
	}
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-4s  %-*s  %s\n", f.Level, width, f.Subject, f.Text)
		if f.Mend != "" {
			fmt.Fprintf(&b, "      %*s  -> %s\n", width, "", f.Mend)
		}
	}
	return b.String()
}

func (r *Report) add(level Level, subject, mend, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{Subject: subject, Level: level, Text: fmt.Sprintf(format, args...), Mend: mend})
}
