package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/gridloop/gridloop/budget"
	"github.com/gridloop/gridloop/grid"
	"github.com/gridloop/gridloop/router"
)

// file is gridloop.yaml.
type file struct {
	Version     int                       `yaml:"version"`
	Instruments map[string]fileInstrument `yaml:"instruments"`
	Routes      *router.Config            `yaml:"routes"`
	Caps        []fileCap                 `yaml:"caps"`
	Limits      fileLimits                `yaml:"limits"`
	Spending    fileSpending              `yaml:"spending"`
	Params      fileParams                `yaml:"params"`
}

type fileInstrument struct {
	MaxPrice       string `yaml:"max_price"` // dollars for a Unit of 1,000,000 tokens
	Status         string `yaml:"status"`
	Family         string `yaml:"family"`
	Tier           string `yaml:"tier"`
	Context        int64  `yaml:"context"`
	MaxInput       int64  `yaml:"max_input"`
	MaxOutput      int64  `yaml:"max_output"`
	TemplateTokens int    `yaml:"template_tokens"`
	TokenField     string `yaml:"token_field"`
	NoTools        *bool  `yaml:"no_tools"`
	NoSchema       *bool  `yaml:"no_schema"`
	Echo           *bool  `yaml:"echo"`
}

type fileCap struct {
	For      string  `yaml:"for"` // "account", "each tenant", "instrument agent-max"; several joined by "and"
	Money    *string `yaml:"money"`
	Tokens   *string `yaml:"tokens"`
	Requests *string `yaml:"requests"`

	ToolCalls *fileCount           `yaml:"tool_calls"` // none counts without a limit
	Custom    map[string]fileCount `yaml:"custom"`     // meters of tools.Uses

	Per  string `yaml:"per"`
	Soft []int  `yaml:"soft"`
}

type fileLimits struct {
	Steps     fileCount    `yaml:"steps"`
	ToolCalls fileCount    `yaml:"tool_calls"`
	Parallel  fileCount    `yaml:"parallel"`
	Repairs   fileCount    `yaml:"repairs"`
	Wall      fileDuration `yaml:"wall"`
	Wait      fileDuration `yaml:"wait"`
	MaxTokens fileCount    `yaml:"max_tokens"`
	RunMoney  fileMoney    `yaml:"run_money"`
	RunTokens fileCount    `yaml:"run_tokens"`
	Carved    *bool        `yaml:"carved"` // keeps run_money and run_tokens for the run
}

type fileSpending struct {
	Estimate string `yaml:"estimate"` // strict, incremental, calibrated
	Overrun  string `yaml:"overrun"`  // continue, halt_instrument, halt_scope
	Held     string `yaml:"held"`     // wait
	Price    string `yaml:"price"`    // reroute
}

func (s fileSpending) spending() Spending {
	return Spending{Estimate: budget.EstimateMode(s.Estimate), Overrun: OverrunPolicy(s.Overrun), Held: HeldPolicy(s.Held), Price: PricePolicy(s.Price)}
}

// The scalar types of the file know "none", so that it is never implied.
type (
	fileCount    int64
	fileDuration time.Duration
	fileMoney    int64
)

func (c *fileCount) UnmarshalYAML(n *yaml.Node) error {
	return limitScalar(n, "a whole number such as 40", func(s string) (err error) {
		*c, err = parseCount(s)
		return err
	}, func() { *c = None })
}

func parseCount(s string) (fileCount, error) {
	var v int64
	_, err := fmt.Sscanf(strings.ReplaceAll(s, "_", "")+"\n", "%d\n", &v)
	if err == nil && v <= 0 {
		err = errors.New("not positive")
	}
	return fileCount(v), err
}

func (d *fileDuration) UnmarshalYAML(n *yaml.Node) error {
	return limitScalar(n, "a duration such as 10m or 90s", func(s string) error {
		v, err := time.ParseDuration(s)
		if err == nil && v <= 0 {
			err = errors.New("not positive")
		}
		*d = fileDuration(v)
		return err
	}, func() { *d = None })
}

func (m *fileMoney) UnmarshalYAML(n *yaml.Node) error {
	return limitScalar(n, "dollars such as $1.00", func(s string) error {
		v, err := budget.ParseUSD(s)
		if err == nil && v <= 0 {
			err = errors.New("not positive")
		}
		*m = fileMoney(v)
		return err
	}, func() { *m = None })
}

func limitScalar(n *yaml.Node, want string, parse func(string) error, none func()) error {
	if n.Kind == yaml.ScalarNode && n.Value == "none" {
		none()
		return nil
	}
	if n.Kind != yaml.ScalarNode || parse(n.Value) != nil {
		return fmt.Errorf("%q is no limit: write %s, or none", n.Value, want)
	}
	return nil
}

// loadFile reads and checks the file; every mistake is reported, with its line
// or field.
func loadFile(from fs.FS, path string) (*file, error) {
	read := os.ReadFile
	if from != nil {
		read = func(name string) ([]byte, error) { return fs.ReadFile(from, name) }
	}
	data, err := read(path)
	if err != nil {
		return nil, fmt.Errorf("agent: File: %w", err)
	}
	f, err := parseFile(data)
	if err != nil {
		return nil, fmt.Errorf("agent: File %s: %w", path, err)
	}
	return f, nil
}

func parseFile(data []byte) (*file, error) {
	if !anything.Match(data) {
		return nil, errors.New("the file is empty: start it with \"version: 1\"")
	}
	var f file
	if err := yaml.Load(data, &f, yaml.WithKnownFields()); err != nil {
		return nil, plain(err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("version is %d: write \"version: 1\"", f.Version)
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		return nil, plain(err)
	}
	if err := errors.Join(unsaid(&doc, 0)...); err != nil {
		return nil, err
	}
	return &f, nil
}

// anything is a line of more than a comment.
var anything = regexp.MustCompile(`(?m)^[ \t]*[^# \t\r\n]`)

// unsaid finds keys without a value: read as their defaults they would say
// something that nobody wrote. A whole section may be empty.
func unsaid(n *yaml.Node, depth int) []error {
	var errs []error
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && depth > 1 && c.Tag == "!!null" {
			key := n.Content[i-1]
			errs = append(errs, fmt.Errorf("line %d: %s has no value: give it one, or remove the line; no limit is written none", key.Line, key.Value))
		}
		errs = append(errs, unsaid(c, depth+1)...)
	}
	return errs
}

// plain says what is wrong with a file in the words of the file, not of this
// package's types.
func plain(err error) error {
	var all *yaml.LoadErrors
	if !errors.As(err, &all) {
		return errors.New(place.ReplaceAllString(err.Error(), "line $1, column $2"))
	}
	var errs []error
	for _, e := range all.Errors {
		msg := unknownKey.ReplaceAllString(e.Message, `there is no key "$1" here: correct its name, or remove it`)
		if m := noBool.FindStringSubmatch(msg); m != nil {
			msg = fmt.Sprintf("%s is no switch: write true or false", m[1])
		}
		errs = append(errs, fmt.Errorf("line %d: %s", e.Mark.Line, msg))
	}
	return errors.Join(errs...)
}

// place is where the reader stopped, in its own notation.
var place = regexp.MustCompile(`\bL(\d+)\.C(\d+)\b`)

// noBool is how the reader names what is no switch, with its text if it is one word.
var noBool = regexp.MustCompile("^cannot construct !!(\\S+ `[^`]*`|\\S+) into bool$")

var unknownKey = regexp.MustCompile(`^field (\S+) not found in type \S+$`)

// instruments changes the catalogue to what the file says.
func (f *file) instruments(c *grid.Catalogue) error {
	var errs []error
	for _, id := range sortedKeys(f.Instruments) {
		fi := f.Instruments[id]
		in, known := c.Get(id)
		if !known {
			in = grid.Instrument{ID: id}
			if cut := strings.LastIndexByte(id, '-'); cut > 0 {
				in.Family, in.Tier = id[:cut], id[cut+1:]
			}
			if fi.Context == 0 && fi.MaxInput == 0 {
				errs = append(errs, fmt.Errorf("instruments.%s: not one of the instruments that are known (%s): correct the name, or give a new instrument its context and max_input",
					id, strings.Join(catalogueIDs(c), ", ")))
				continue
			}
		}
		if fi.MaxPrice != "" {
			price, err := budget.ParseUSD(fi.MaxPrice)
			if err != nil || price <= 0 {
				errs = append(errs, fmt.Errorf("instruments.%s.max_price: %q is no price: write dollars for 1,000,000 tokens, such as $2.50", id, fi.MaxPrice))
			}
			in.MaxPriceNanoUSD = price
		}
		for _, n := range []struct {
			field string
			v     int64
		}{{"context", fi.Context}, {"max_input", fi.MaxInput}, {"max_output", fi.MaxOutput}, {"template_tokens", int64(fi.TemplateTokens)}} {
			if n.v < 0 {
				errs = append(errs, fmt.Errorf("instruments.%s.%s: %d is negative: give a number of tokens", id, n.field, n.v))
			}
		}
		in.Status = or(fi.Status, in.Status)
		in.Family = or(fi.Family, in.Family)
		in.Tier = or(fi.Tier, in.Tier)
		in.TokenField = or(fi.TokenField, in.TokenField)
		in.Context = or(fi.Context, in.Context)
		in.MaxInput = or(fi.MaxInput, in.MaxInput)
		in.MaxOutput = or(fi.MaxOutput, in.MaxOutput)
		in.TemplateTokens = or(fi.TemplateTokens, in.TemplateTokens)
		for _, b := range []struct{ to, from *bool }{{&in.NoTools, fi.NoTools}, {&in.NoSchema, fi.NoSchema}, {&in.Echo, fi.Echo}} {
			if b.from != nil {
				*b.to = *b.from
			}
		}
		if err := c.Put(in); err != nil {
			errs = append(errs, fmt.Errorf("instruments.%s: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

func (f *file) caps() ([]budget.Cap, error) {
	var out []budget.Cap
	var errs []error
	for i, fc := range f.Caps {
		at := fmt.Sprintf("caps[%d]", i)
		target, err := budget.ParseTarget(fc.For)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.for: %w", at, err))
		}
		window, err := budget.ParseWindow(fc.Per)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.per: %w", at, err))
		}
		add := func(field string, meter budget.Meter, limit int64, written string) {
			if limit <= 0 {
				errs = append(errs, fmt.Errorf("%s.%s: %s is no limit: give more than zero, or none", at, field, written))
				return
			}
			alone := budget.Cap{For: budget.Account(), Meter: meter, Limit: limit, Per: budget.Lifetime()}
			if f, ok := errors.AsType[*budget.FieldError](alone.Validate()); ok {
				errs = append(errs, fmt.Errorf("%s.%s: %w", at, field, &budget.FieldError{Field: f.Field, Problem: f.Problem, Fix: "give a smaller one, or none"}))
				return
			}
			c := budget.Cap{For: target, Meter: meter, Limit: limit, Per: window, Soft: fc.Soft}
			if err := Countable(c); err != nil {
				errs = append(errs, fmt.Errorf("%s.%s: %w", at, field, err))
				return
			}
			out = append(out, c)
		}
		if fc.Money != nil && *fc.Money == "none" {
			add("money", budget.MeterMoney, budget.None, "none")
		} else if fc.Money != nil {
			nano, err := budget.ParseUSD(*fc.Money)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s.money: %w", at, err))
			} else {
				add("money", budget.MeterMoney, nano, *fc.Money)
			}
		}
		number := func(field string, meter budget.Meter, written *string) {
			if written == nil {
				return
			}
			if *written == "none" {
				add(field, meter, budget.None, *written)
				return
			}
			n, err := parseCount(*written)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s.%s: %q is no limit: give a whole number above zero such as 40, or none", at, field, *written))
				return
			}
			add(field, meter, int64(n), *written)
		}
		number("tokens", budget.MeterTokens, fc.Tokens)
		number("requests", budget.MeterRequests, fc.Requests)
		count := func(field string, meter budget.Meter, n fileCount) {
			limit := int64(n)
			if n == None {
				limit = budget.None
			}
			if err := meter.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("%s.%s: %w", at, field, err))
				return
			}
			add(field, meter, limit, fmt.Sprint(limit))
		}
		if fc.ToolCalls != nil {
			count("tool_calls", budget.MeterToolCalls, *fc.ToolCalls)
		}
		for _, name := range sortedKeys(fc.Custom) {
			count("custom."+name, budget.Custom(name), fc.Custom[name])
		}
		if fc.Money == nil && fc.Tokens == nil && fc.Requests == nil && fc.ToolCalls == nil && len(fc.Custom) == 0 {
			errs = append(errs, fmt.Errorf("%s: no limit: give money, tokens, requests, tool_calls or custom", at))
		}
	}
	return out, errors.Join(errs...)
}

func (l fileLimits) limits() Limits {
	return Limits{
		Steps: int(l.Steps), ToolCalls: int(l.ToolCalls), Parallel: int(l.Parallel), Repairs: int(l.Repairs),
		Wall: time.Duration(l.Wall), Wait: time.Duration(l.Wait), MaxTokens: int(l.MaxTokens),
		RunNanoUSD: int64(l.RunMoney), RunTokens: int64(l.RunTokens), Carved: l.Carved != nil && *l.Carved,
	}
}

// merge takes each limit from where it is set; one that is set twice, and
// differently, is an error.
func (l Limits) merge(f Limits) (Limits, error) {
	var errs []error
	out := Limits{
		Steps:      mergeLimit("Steps", "steps", l.Steps, f.Steps, &errs),
		ToolCalls:  mergeLimit("ToolCalls", "tool_calls", l.ToolCalls, f.ToolCalls, &errs),
		Parallel:   mergeLimit("Parallel", "parallel", l.Parallel, f.Parallel, &errs),
		Repairs:    mergeLimit("Repairs", "repairs", l.Repairs, f.Repairs, &errs),
		Wall:       mergeLimit("Wall", "wall", l.Wall, f.Wall, &errs),
		Wait:       mergeLimit("Wait", "wait", l.Wait, f.Wait, &errs),
		MaxTokens:  mergeLimit("MaxTokens", "max_tokens", l.MaxTokens, f.MaxTokens, &errs),
		RunNanoUSD: mergeLimit("RunNanoUSD", "run_money", l.RunNanoUSD, f.RunNanoUSD, &errs),
		RunTokens:  mergeLimit("RunTokens", "run_tokens", l.RunTokens, f.RunTokens, &errs),
		Carved:     l.Carved || f.Carved,
	}
	return out, errors.Join(errs...)
}

func mergeLimit[N int | int64 | time.Duration](field, key string, code, file N, errs *[]error) N {
	if code != 0 && file != 0 && code != file {
		*errs = append(*errs, fmt.Errorf("agent: Limits.%s and limits.%s of the file differ: set one of them", field, key))
	}
	return or(code, file)
}

func or[V comparable](v, def V) V {
	var zero V
	if v == zero {
		return def
	}
	return v
}
