// Taubench replays a public benchmark through gridloop: the airline desk of
// tau-bench (github.com/sierra-research/tau-bench), 14 tools over its database, in
// conversations recorded with gpt-4o.
//
//	go run ./examples/taubench -data DIR
//	go run ./examples/taubench -data DIR -stream -parallel 8 -faults 0.2
//
// DIR is a directory with the benchmark's data: every DIR/airline/*/trajectories_*.jsonl
// is replayed. A simulated market answers with the recorded messages of the model;
// everything between it and the database is the library: routing, caps, the wire,
// validation of arguments, tools, the transcript.
//
//	recorded user -> agent.Start(Continue) -> market: recorded answer -> tool on a copy of the database
//	                      <- text ------------------------+                  |
//	compare: every tool result byte for byte, the final database by two hashes, the reward, the bill
//
// It ends with status 1 if anything differs from the recording.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/gridloop/gridloop/budget"
)

// options are what the command line says.
type options struct {
	data     string
	stream   bool
	parallel int
	capUSD   string
	faults   float64
	seed     uint64
	trace    string
}

var errDiffers = errors.New("the replay differs from the recording")

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "directory of the benchmark's data, with airline in it (required)")
	flag.BoolVar(&o.stream, "stream", false, "stream the answers, cut into deltas at random places")
	flag.IntVar(&o.parallel, "parallel", 1, "how many conversations run at once")
	flag.StringVar(&o.capUSD, "cap", "1.00", "what a whole conversation may spend, in USD")
	flag.Float64Var(&o.faults, "faults", 0, "chance of a fault (402, 429, 500, cut answer) for each request, from 0 to 1; at most two in a row")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the faults and of the places where streams are cut")
	flag.StringVar(&o.trace, "trace", "", "write the runs as an HTML page to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "taubench:", err)
		os.Exit(1)
	}
}

// check finds everything that is wrong with the options.
func (o *options) check() (capNanoUSD int64, err error) {
	var errs []error
	if o.data == "" {
		errs = append(errs, errors.New("-data is missing: name the directory that holds the benchmark's airline directory"))
	}
	if o.parallel < 1 {
		errs = append(errs, fmt.Errorf("-parallel %d: give a positive number", o.parallel))
	}
	if !(o.faults >= 0 && o.faults <= 1) {
		errs = append(errs, fmt.Errorf("-faults %v: give a number from 0 to 1", o.faults))
	}
	capNanoUSD, err = budget.ParseUSD(o.capUSD)
	if err != nil || capNanoUSD <= 0 {
		errs = append(errs, fmt.Errorf("-cap %q: give a positive amount of dollars, such as 0.50", o.capUSD))
	}
	return capNanoUSD, errors.Join(errs...)
}

// run replays everything and prints what came of it.
func run(ctx context.Context, o options, out io.Writer) error {
	capNanoUSD, err := o.check()
	if err != nil {
		return err
	}
	recorded, err := load(o.data)
	if err != nil {
		return err
	}
	pictures := newPictures(o.trace)
	desk, err := openDesk(o, capNanoUSD, recorded, pictures)
	if err != nil {
		return err
	}
	defer desk.close(context.WithoutCancel(ctx))
	fmt.Fprintf(out, "tau-bench airline: %d recorded conversations with %s, replayed on a simulated market in this process. Nothing is spent.\n", len(recorded), recorded[0].Model)
	o.explain(out)
	r := desk.replayAll(ctx, o.parallel)
	if err := pictures.write(context.WithoutCancel(ctx), out); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	r.print(out)
	if !r.allEqual() {
		return errDiffers
	}
	return nil
}
