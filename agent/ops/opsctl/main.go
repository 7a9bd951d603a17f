// Opsctl asks a service what its agents do and spend, and presses the stop button, through the handler of package ops.
//
//	opsctl -url http://localhost:8080/ops live
//	opsctl top tenant                             who spends most, at what pace, for how long it lasts; of tools, who is called most
//	opsctl caps | freezes | changes | explain | audit
//	opsctl standing 'tenant acme'                 where its caps stand
//	opsctl run ID                                 what it does, holds, and may spend
//	opsctl freeze 'tenant acme' 'the bill looks odd'
//	opsctl -for 2h freeze account 'a pause'
//	opsctl unfreeze 'tenant acme'
//	opsctl cap 'each tenant' money 'day UTC' '$5.00'
//	opsctl cancel ID 'why'
//
// The address may stand in GRIDLOOP_OPS_URL; a token in GRIDLOOP_OPS_TOKEN is sent as a bearer, over https or to this
// machine only.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program: 0 is well, 1 is a refusal or a finding, 2 is a mistake on the command line.
func run(ctx context.Context, args []string, env func(string) string, out, errs io.Writer) int {
	flags := flag.NewFlagSet("opsctl", flag.ContinueOnError)
	flags.SetOutput(errs)
	base := flags.String("url", env("GRIDLOOP_OPS_URL"), "where the handler is mounted, such as http://localhost:8080/ops")
	raw := flags.Bool("json", false, "print the answer as it came")
	last := flags.Duration("for", 0, "how long: a freeze, or the look back of top")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	q, err := question(flags.Args(), *last)
	if err == nil {
		q.base, q.token, err = address(*base, env("GRIDLOOP_OPS_TOKEN"))
	}
	if err != nil {
		fmt.Fprintln(errs, "opsctl:", err)
		return 2
	}
	body, err := q.ask(ctx)
	if err != nil {
		fmt.Fprintln(errs, "opsctl:", err)
		return 1
	}
	if *raw {
		_, err = out.Write(body)
	} else {
		err = q.show(out, body)
	}
	if err != nil {
		fmt.Fprintln(errs, "opsctl:", err)
		return 1
	}
	return 0
}

// query is one request to the handler, and how its answer is shown.
type query struct {
	base, token, method, path string
	body                      any
	show                      func(io.Writer, []byte) error
}

func question(words []string, last time.Duration) (*query, error) {
	word := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	count := func(least, most int, how string) error {
		if n := len(words) - 1; n < least || n > most {
			return fmt.Errorf("write: opsctl %s", how)
		}
		return nil
	}
	get := func(path string, show func(io.Writer, []byte) error) *query {
		return &query{method: http.MethodGet, path: path, show: show}
	}
	post := func(path string, body any) *query {
		return &query{method: http.MethodPost, path: path, body: body, show: plain}
	}
	switch word(0) {
	case "live":
		return get("live", showLive), count(0, 0, "live")
	case "top":
		v := url.Values{}
		if w := word(1); w != "" {
			v.Set("by", w)
		}
		if last > 0 {
			v.Set("for", last.String())
		}
		return get("top?"+v.Encode(), showTop), count(0, 1, "top [run|tenant|instrument|tool|...]")
	case "caps":
		return get("caps", showCaps), count(0, 0, "caps")
	case "freezes", "changes", "explain", "audit":
		return get(word(0), plain), count(0, 0, word(0))
	case "standing":
		return get("standing?"+url.Values{"scope": words[1:]}.Encode(), showStanding), count(0, 20, "standing ['tenant acme' ...]")
	case "run":
		return get("runs/"+url.PathEscape(word(1)), plain), count(1, 1, "run ID")
	case "freeze":
		body := map[string]any{"scope": word(1), "reason": word(2)}
		if last > 0 {
			body["until"] = time.Now().Add(last).UTC()
		}
		return post("freeze", body), count(1, 2, "[-for 2h] freeze 'tenant acme' 'the reason'")
	case "unfreeze":
		return post("unfreeze", map[string]any{"scope": word(1)}), count(1, 1, "unfreeze 'tenant acme'")
	case "cap":
		return post("caps", map[string]any{"for": word(1), "meter": word(2), "per": word(3), "limit": word(4)}),
			count(4, 4, "cap 'each tenant' money 'day UTC' '$5.00'")
	case "cancel":
		return post("runs/"+url.PathEscape(word(1))+"/cancel", map[string]any{"reason": word(2)}), count(1, 2, "cancel ID 'the reason'")
	}
	return nil, fmt.Errorf("%q is no command: write live, top, caps, standing, freezes, changes, run, audit, explain, freeze, unfreeze, cap or cancel", word(0))
}

// address checks where the question goes: a token goes over nothing that others can read.
func address(base, token string) (string, string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", "", errors.New("where is the handler? give -url, or GRIDLOOP_OPS_URL, such as http://localhost:8080/ops")
	}
	ip := net.ParseIP(u.Hostname())
	if token != "" && u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", "", errors.New("the token would go unencrypted: use https, or unset GRIDLOOP_OPS_TOKEN")
	}
	return strings.TrimSuffix(base, "/") + "/", token, nil
}

const patience = 30 * time.Second

func (q *query) ask(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.base+q.path, body)
	if err != nil {
		return nil, err
	}
	if q.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if q.token != "" {
		req.Header.Set("Authorization", "Bearer "+q.token)
	}
	// The token goes where it was sent and nowhere else.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil || res.StatusCode == http.StatusOK {
		return b, err
	}
	var said struct {
		Error struct{ Message string }
	}
	switch {
	case json.Unmarshal(b, &said) == nil && said.Error.Message != "":
		return nil, errors.New(said.Error.Message)
	case res.StatusCode == http.StatusMethodNotAllowed || res.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: is the handler mounted there, and was it given an authorise func?", res.Status)
	}
	return nil, errors.New(res.Status)
}
