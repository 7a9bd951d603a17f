package gridtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// A Question is a case that the platform leaves open, with the assumption that
// the market answers it by and the other readings there are.
type Question struct {
	Name       string // as in [Finding.Question]
	Assumption string // A-01 and so on: see the package comment
	Assumed    string // the reading of the zero Config
	Others     []string
}

// Questions returns every open case that the market can be told to read
// otherwise.
func Questions() []Question {
	return []Question{
		{"dry_retry_after", "A-02", "none", []string{"given"}},
		{"credits_empty", "A-02", "alike", []string{"named"}},
		{"models", "A-03", "open", []string{"keyed"}},
		{"redirect_host", "A-04", "same", []string{"other"}},
		{"redirect_token", "A-04", "once", []string{"again"}},
		{"dry", "A-05", "402_then_503", []string{"402", "503"}},
		{"overdraft", "A-06", "allowed", []string{"covered"}},
		{"no_credits", "A-07", "all", []string{"dry"}},
		{"cut", "A-08", "billed", []string{"unbilled"}},
		{"lots", "A-09", "kept", []string{"expire"}},
		{"supplier_error", "A-10", "supplier", []string{"market"}},
		{"request_id", "A-10", "second_hop", []string{"both_hops", "none"}},
		{"receipt", "A-14", "bare", []string{"data"}},
		{"balances", "A-16", "units", []string{"tokens"}},
	}
}

// State says what a look at the real market made of an assumption.
type State string

// What a look at the real market made of an assumption.
const (
	Confirmed  State = "confirmed"
	Refuted    State = "refuted"
	NotVisible State = "not_visible"
)

// A Finding is one assumption that was looked at.
type Finding struct {
	Assumption string `json:"assumption"`
	// Question names the case and Reading its answer, where the market can be
	// told to behave so; see [Questions].
	Question string `json:"question,omitempty"`
	Reading  string `json:"reading,omitempty"`
	State    State  `json:"state"`
	Saw      string `json:"saw,omitempty"` // what was seen, or why nothing was
}

// A Profile is a set of readings: how a market behaves where the platform's own
// behaviour is not documented. The zero Profile is what the package assumes.
// The doctor beside this package writes one from the real market.
type Profile struct {
	Name     string    `json:"name"`
	At       time.Time `json:"at,omitzero"` // when it was found out; zero for one that was made up
	Findings []Finding `json:"findings"`
}

// Profiles returns profiles for table tests: what is assumed, each other
// reading alone, and all of them at once. Whatever holds under all of them does
// not rest on an assumption that can be read otherwise.
func Profiles() []Profile {
	all := []Profile{{Name: "assumed"}}
	together := Profile{Name: "everything otherwise"}
	for _, q := range Questions() {
		for i, reading := range q.Others {
			f := Finding{Assumption: q.Assumption, Question: q.Name, Reading: reading, State: Refuted}
			all = append(all, Profile{Name: q.Name + " " + reading, Findings: []Finding{f}})
			if i == 0 {
				together.Findings = append(together.Findings, f)
			}
		}
	}
	return append(all, together)
}

// Reading returns how a profile answers a question of [Questions]; what was not
// visible is answered as assumed. It is "" for a question that there is none of.
func (p Profile) Reading(question string) string {
	for _, f := range p.Findings {
		if f.Question == question && f.State != NotVisible {
			return f.Reading
		}
	}
	for _, q := range Questions() {
		if q.Name == question {
			return q.Assumed
		}
	}
	return ""
}

// LoadProfile reads a profile from a file.
func LoadProfile(path string) (Profile, error) {
	f, err := os.Open(path)
	if err != nil {
		return Profile{}, fmt.Errorf("gridtest: profile: %w", err)
	}
	defer f.Close()
	return ReadProfile(f)
}

// maxProfile is far above what a profile needs.
const maxProfile = 1 << 20

// ReadProfile reads a profile as JSON. The error names every mistake.
func ReadProfile(r io.Reader) (Profile, error) {
	var p Profile
	d := json.NewDecoder(io.LimitReader(r, maxProfile))
	if err := d.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("gridtest: profile: it is not JSON as the doctor writes it: %w", err)
	}
	if err := p.problem(); err != nil {
		return Profile{}, err
	}
	return p, nil
}

func (p Profile) problem() error {
	var errs []error
	seen := make(map[string]bool)
	for i, f := range p.Findings {
		wrong := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("gridtest: profile %q: finding %d: "+format, append([]any{p.Name, i}, args...)...))
		}
		switch f.State {
		case Confirmed, Refuted, NotVisible:
		default:
			wrong("state %q: it is %s, %s or %s", f.State, Confirmed, Refuted, NotVisible)
		}
		if f.Question == "" || f.State == NotVisible {
			continue
		}
		at := slices.IndexFunc(Questions(), func(q Question) bool { return q.Name == f.Question })
		if at < 0 {
			wrong("there is no question %q: see Questions", f.Question)
			continue
		}
		if q := Questions()[at]; f.Reading != q.Assumed && !slices.Contains(q.Others, f.Reading) {
			wrong("%s is read as %q: it is %s or one of %q", f.Question, f.Reading, q.Assumed, q.Others)
		}
		if seen[f.Question] {
			wrong("%s is answered twice", f.Question)
		}
		seen[f.Question] = true
	}
	return errors.Join(errs...)
}

// readings is a profile and a Config in the form that the market asks for.
type readings struct {
	dryRetryAfter, creditsNamed bool
	modelsKeyed                 bool
	otherHost, tokenAgain       bool
	dry                         Dry
	coveredOnly                 bool // a balance must cover max_tokens
	creditsForDryOnly           bool // without credits, those that have tokens are served
	cutUnbilled                 bool
	lotsExpire                  bool
	marketEnvelope              bool
	idOnBothHops, noID          bool
	receiptInData               bool
	balancesInTokens            bool
}

// readings of a Config: fields that are set come before its profile.
func (c *Config) readings() readings {
	p := c.Profile
	r := readings{
		dryRetryAfter:     p.Reading("dry_retry_after") == "given",
		creditsNamed:      p.Reading("credits_empty") == "named",
		modelsKeyed:       p.Reading("models") == "keyed",
		otherHost:         c.Redirect == OtherHost || p.Reading("redirect_host") == "other",
		tokenAgain:        p.Reading("redirect_token") == "again",
		dry:               c.Dry,
		coveredOnly:       p.Reading("overdraft") == "covered",
		creditsForDryOnly: p.Reading("no_credits") == "dry",
		lotsExpire:        p.Reading("lots") == "expire",
		cutUnbilled:       c.CutUnbilled || p.Reading("cut") == "unbilled",
		marketEnvelope:    p.Reading("supplier_error") == "market",
		idOnBothHops:      p.Reading("request_id") == "both_hops",
		noID:              p.Reading("request_id") == "none",
		receiptInData:     p.Reading("receipt") == "data",
		balancesInTokens:  p.Reading("balances") == "tokens",
	}
	if r.dry == Dry402Then503 {
		switch p.Reading("dry") {
		case "402":
			r.dry = Dry402
		case "503":
			r.dry = Dry503
		}
	}
	return r
}
