package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/gridloop/gridloop/grid"
)

// Whatever a file holds, it is taken or refused with words, and never panics; what
// is taken gives limits and caps in their range.
func FuzzParseFile(f *testing.F) {
	if readme, err := os.ReadFile("../README.md"); err == nil {
		_, example, _ := strings.Cut(string(readme), "```yaml\n")
		example, _, _ = strings.Cut(example, "```")
		f.Add([]byte(example))
	}
	for _, seed := range []string{
		"version: 1\nlimits: {carved: true, run_tokens: 5}", "version: 1", "version: 1\nlimits: {steps: none, wall: 10m, run_money: $1.00, run_tokens: 5_000}",
		"version: 1\ninstruments: {agent-max: {max_price: $2.5, context: 5, template_tokens: 7}, new-one: {context: 1, max_input: 1}}",
		"version: 1\nroutes: {tools: {tier: max, fallback: down}, rules: [{id: a, when: {kinds: [text], labels: {a: b}}, use: {tier: prime}}]}",
		"version: 1\ncaps: [{for: each tenant, money: $5, per: day Europe/Berlin, soft: [50]}, {for: account, tokens: 5, requests: 6, per: lifetime}]",
		"a: &a [*a, *a]", "version: 1\nlimits: {<<: {steps: 4}}", "version: 1\nlimits: ~", "\xff\xfe", "version: 1\n---\nversion: 1", "{", "- - -", "version: !!str 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		parsed, err := parseFile(data)
		if err != nil {
			if err.Error() == "" || parsed != nil {
				t.Errorf("%v, %v", parsed, err)
			}
			return
		}
		l := parsed.Limits.limits()
		if l.Steps < None || l.ToolCalls < None || l.Parallel < None || l.Wall < None || l.Wait < None || l.RunNanoUSD < None || l.RunTokens < None {
			t.Errorf("limits out of their range: %+v", l)
		}
		if caps, err := parsed.caps(); err == nil {
			for _, c := range caps {
				if c.For.String() == "" || c.Per.String() == "" {
					t.Errorf("half a cap: %+v", c)
				}
			}
		}
		_ = parsed.instruments(grid.DefaultCatalogue())
	})
}
