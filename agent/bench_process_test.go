package agent_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"
)

// The benchmark runs in three processes of the same binary, so that none pays for
// another: the model, the loop written by hand, and the test itself with our loop.
// The first two end with the third, whose end closes their input.

// roleVariable tells a test binary what to be instead of a test.
const roleVariable = "GRIDLOOP_BENCH_ROLE"

const (
	roleModel = "model" // prints its URL and serves scripts
	roleFloor = "floor" // reads a floorOrder for each line, answers with a stepSum
	// reads one parkedOrder, answers with a parkedSum
	roleParked = "parked"
)

// playedRole plays the role of this process, and reports whether it had one. TestMain
// asks it before anything else.
func playedRole() bool {
	var err error
	switch os.Getenv(roleVariable) {
	case "":
		return false
	case roleModel:
		err = serveScripts()
	case roleFloor:
		err = serveFloor(os.Stdin, os.Stdout)
	case roleParked:
		err = serveParked(os.Stdin, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func serveScripts() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(l, scriptServer())
	fmt.Println("http://" + l.Addr().String())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// floorOrder asks for runs of the loop written by hand.
type floorOrder struct {
	URL  string
	Case int // of stepCases
	Runs int
}

func serveFloor(in io.Reader, out io.Writer) error {
	loops := map[int]*stepLoop{}
	answers := json.NewEncoder(out)
	for orders := json.NewDecoder(in); ; {
		var o floorOrder
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if loops[o.Case] == nil {
			loops[o.Case] = newFloorLoop(context.Background(), o.URL, stepCases[o.Case])
		}
		if err := answers.Encode(loops[o.Case].measure(o.Runs)); err != nil {
			return err
		}
	}
}

// process is one of the other two, spoken to line by line.
type process struct {
	in  io.Writer
	out *bufio.Reader
}

func startProcess(b *testing.B, role string) *process {
	exe, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, exe)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		in.Close()
		late := time.AfterFunc(5*time.Second, kill)
		cmd.Wait()
		late.Stop()
		kill()
	})
	return &process{in, bufio.NewReader(out)}
}

// url is where the model serves.
func (p *process) url(b *testing.B) string {
	line, err := p.out.ReadString('\n')
	if err != nil {
		b.Fatal("the model did not say where it serves: ", err)
	}
	return line[:len(line)-1]
}

// measure has the loop written by hand run a case.
func (p *process) measure(b *testing.B, o floorOrder) (s stepSum) {
	p.ask(b, o, &s)
	return s
}

// ask sends an order and reads the answer to it.
func (p *process) ask(b *testing.B, order, answer any) {
	err := json.NewEncoder(p.in).Encode(order)
	if err == nil {
		var line []byte
		if line, err = p.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, answer)
		}
	}
	if err != nil {
		b.Fatal("the other process did not answer: ", err)
	}
}
