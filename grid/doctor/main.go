// Doctor looks at an account of The Grid and says in plain words what keeps agents from
// spending, with the mend for each finding.
//
//	THEGRID_API_KEY -------> check   key, base URL, redirect, instruments, balances, settings
//	THEGRID_TRADING_KEY --/    |     nothing is generated, nothing is changed
//	THEGRID_ACCESS_TOKEN -/    v
//	        -probe --------> probe   asks what the platform does not document, under a
//	                           |     ceiling, and writes a profile for gridtest.LoadProfile
//	    advise log.jsonl --> advise  trigger, threshold and caps from what agents did
//
// Run it from a checkout:
//
//	go run ./grid/doctor                             look, and pay nothing
//	go run ./grid/doctor -instrument agent-prime     look at the redirect too
//	go run ./grid/doctor -probe -out profile.json    find out, for two cents at most
//	go run ./grid/doctor advise decisions.jsonl      numbers for an account and its caps
//
// Keys are taken from the environment and never printed. The exit code is 0 when nothing
// is broken, 1 when something is, 2 when the command line is wrong.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/gridloop/gridloop/grid"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	d := doctor{getenv: os.Getenv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	code := d.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// doctor is the program with the world it runs in.
type doctor struct {
	getenv         func(string) string
	stdin          io.Reader
	stdout, stderr io.Writer
	transport      http.RoundTripper // nil: the network
}

// The exit codes.
const (
	exitFine   = 0
	exitBroken = 1
	exitUsage  = 2
)

func (d *doctor) run(ctx context.Context, args []string) int {
	if len(args) > 0 && args[0] == "advise" {
		return d.advise(args[1:])
	}
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(d.stderr)
	baseURL := flags.String("base-url", grid.DefaultBaseURL, "the consumption `URL`")
	instrument := flags.String("instrument", "", "the `name` to look at the redirect with; -probe asks text-standard unless told otherwise")
	asJSON := flags.Bool("json", false, "print the report as JSON")
	timeout := flags.Duration("timeout", 2*time.Minute, "give up after this `time`")
	inTokens := flags.Bool("balances-in-tokens", false, "take consumption balances for tokens, not Units")
	probing := flags.Bool("probe", false, "find out what the platform does not document; this costs money")
	ceiling := flags.Float64("ceiling", 0.02, "what -probe may cost at most, in `USD`")
	requests := flags.Int("requests", 20, "how `many` requests -probe may make")
	maxPrice := flags.Float64("max-price", 0, "what a Unit of 1,000,000 tokens costs at most, in `USD`, where the market lists no price")
	dry := flags.String("dry", "", "a dry instrument, by `name`, whose answers -probe looks at; that starts a purchase beyond the ceiling")
	out := flags.String("out", "", "the `file` to write the profile of -probe to")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitFine
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		return d.misused("there is no command %q: the only one is advise", flags.Arg(0))
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	client := &http.Client{Transport: d.transport}
	cfg := grid.CheckConfig{
		Config:     grid.Config{APIKey: d.getenv(grid.KeyVariable), BaseURL: *baseURL, Retry: grid.Retry{Max: 1}},
		Instrument: *instrument,
	}
	if d.transport != nil {
		cfg.Config.HTTPClient = client
	}
	if key, token := d.getenv(grid.TradingKeyVariable), d.getenv(grid.AccessTokenVariable); key != "" || token != "" {
		cfg.Trading = &grid.TradingConfig{Key: key, AccessToken: token, Retry: grid.Retry{Max: 1}, InTokens: *inTokens, HTTPClient: cfg.Config.HTTPClient}
	}
	if *probing {
		switch {
		case cfg.Config.APIKey == "":
			return d.misused("-probe needs a key in %s: it asks the real market", grid.KeyVariable)
		case *ceiling <= 0 || *ceiling > 100:
			return d.misused("-ceiling %v: it is more than 0, and 100 at most", *ceiling)
		case *requests < 1:
			return d.misused("-requests %d: it is at least 1", *requests)
		case *maxPrice < 0 || *maxPrice > 1e6:
			return d.misused("-max-price %v: it is 0 for the market's own, or dollars per Unit", *maxPrice)
		}
		return d.probe(ctx, cfg, probeLimits{
			instrument: *instrument, dry: *dry, ceiling: int64(*ceiling * 1e9), requests: *requests, maxPrice: int64(*maxPrice * 1e9), out: *out,
		})
	}
	return d.check(ctx, cfg, *asJSON)
}

func (d *doctor) misused(format string, args ...any) int {
	fmt.Fprintf(d.stderr, "doctor: "+format+"\n", args...)
	return exitUsage
}

func (d *doctor) check(ctx context.Context, cfg grid.CheckConfig, asJSON bool) int {
	report := grid.Check(ctx, cfg)
	if asJSON {
		b, err := json.MarshalIndent(report.Findings, "", "  ")
		if err != nil {
			fmt.Fprintf(d.stderr, "doctor: %v\n", err)
			return exitBroken
		}
		fmt.Fprintf(d.stdout, "%s\n", b)
	} else {
		fmt.Fprint(d.stdout, report)
	}
	if report.Worst() == grid.LevelFail {
		return exitBroken
	}
	return exitFine
}
