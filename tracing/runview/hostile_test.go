package runview

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gridloop/gridloop/tracing"
)

var testConfig = tracing.Config{Content: tracing.ContentSpan, SpanEvents: true}

func startOf(r *recorder, agent string) tracing.RunStart {
	return tracing.RunStart{Start: r.at(0), Agent: agent, RunID: "r"}
}

func endOf(r *recorder, ms int, stop string) tracing.RunEnd {
	return tracing.RunEnd{End: r.at(ms), StopReason: stop, Steps: 1, ModelCalls: 1}
}

var nasty = []string{
	`</script><script>document.documentElement.dataset.owned=1</script>`,
	`<img src=x onerror="document.documentElement.dataset.owned=1">`,
	`"><svg onload='document.documentElement.dataset.owned=1'>`,
	`]]></style></title></text></svg><script>document.documentElement.dataset.owned=1</script>`,
	`javascript:document.documentElement.dataset.owned=1`,
	"&lt;script&gt; &#x3c;b&#x3e; & &amp;",
	"\x00\x01\x1b[31mred\x7f \xff\xfe \u202eesrever\u202c \u2028 \U000e0041 \ufffe \ufeff",
	strings.Repeat("W", 5000),
	strings.Repeat("語", 3000),
	strings.Repeat("🧨 ", 900) + "\n\t\r\n",
	"<!-- --> <![CDATA[ x ]]> <?xml version='1.0'?> <!DOCTYPE x [<!ENTITY y SYSTEM 'file:///'>]> &y;",
	"`${1}` {{.}} <%= 1 %>",
}

// recordedHostile puts texts everywhere where somebody else's text can stand.
func recordedHostile(t testing.TB, texts []string) *Exporter {
	e := New(Title(strings.Join(texts, " ")))
	r := newRecorder(t, e, testConfig)
	for _, s := range texts {
		r.agent = s
		ctx, run := r.Run(t.Context(), tracing.RunStart{Start: r.at(0), Agent: s, Description: s, RunID: s, Conversation: s})
		r.call(ctx, model{step: 0, instrument: s, family: s, tier: s, kind: s, route: tracing.Route{Policy: s, Reason: s, Rule: s, Requested: s + "?"},
			from: 0, to: 900, first: 100, in: 10, out: 20, cost: 1000, left: 50, outcome: s, wait: [2]int{10, 500},
			attempts: []request{{0, 10, 402}, {500, 900, 200}}, asked: s, answered: s})
		r.tool(ctx, use{step: 0, name: s, from: 900, to: 950, status: s, approval: s, asked: s, answered: s})
		r.Denied(ctx, tracing.Denial{Instrument: s, Kind: s, Cap: s, Scope: s, Meter: s, Limit: 5, Requested: 7})
		r.LoopDetected(ctx, tracing.Loop{Detector: s, Count: 3})
		r.RouteDecision(ctx, tracing.Routing{Instrument: s, Skipped: []string{s, s}})
		run.End(tracing.RunEnd{End: r.at(1000), StopReason: s, ErrorType: s, Steps: 1, ModelCalls: 1})
	}
	return e
}

// vocabulary is every element and, with an @, every attribute that we write.
var vocabulary = strings.Fields(`
	html head meta title style body header nav section h1 h2 p dl dt dd div b em span a details summary figure table thead tbody tr th td pre
	svg defs pattern rect circle path g text
	@xmlns @viewBox @width @height @role @aria-label @class @id @x @y @rx @r @cx @cy @d @text-anchor @transform @stroke-width
	@patternUnits @patternTransform @lang @charset @http-equiv @content @name @href @colspan @open`)

// harmless checks that a document holds nothing but what we write, whatever was written into it.
func harmless(t testing.TB, text []byte) {
	t.Helper()
	if !utf8.Valid(text) {
		t.Error("not UTF-8")
	}
	d := xml.NewDecoder(bytes.NewReader(text))
	inStyle := false
	for {
		token, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inStyle = token.Name.Local == "style"
			if !slices.Contains(vocabulary, token.Name.Local) {
				t.Errorf("element <%s>", token.Name.Local)
			}
			for _, a := range token.Attr {
				if !slices.Contains(vocabulary, "@"+a.Name.Local) {
					t.Errorf("attribute %s=%q on <%s>", a.Name.Local, a.Value, token.Name.Local)
				}
				if a.Name.Local == "href" && !strings.HasPrefix(a.Value, "#run-") {
					t.Errorf("a link to %q", a.Value)
				}
				if strings.Contains(a.Value, "url(") && !strings.HasPrefix(a.Value, "url(#") {
					t.Errorf("%s loads %q", a.Name.Local, a.Value)
				}
			}
		case xml.EndElement:
			inStyle = false
		case xml.CharData:
			if inStyle && bytes.ContainsAny(token, "<&") {
				t.Error("the style sheet holds markup")
			}
			if bytes.ContainsFunc(token, func(r rune) bool { return r < ' ' && r != '\n' && r != '\t' || unseen(r) }) {
				t.Errorf("text with control characters: %q", token)
			}
		case xml.Comment, xml.ProcInst:
			t.Errorf("%T", token)
		case xml.Directive:
			if string(token) != "DOCTYPE html" {
				t.Errorf("directive %q", token)
			}
		}
	}
}

func TestHostileTextDoesNothing(t *testing.T) {
	e := recordedHostile(t, nasty)
	page := html(t, e)
	harmless(t, page)
	for _, want := range []string{"&lt;script&gt;document", "&amp;lt;script&amp;gt;"} {
		if !bytes.Contains(page, []byte(want)) {
			t.Errorf("the page does not show %s", want)
		}
	}
	for i := range countRuns(e) {
		harmless(t, svg(t, e, i))
	}
	harmless(t, html(t, recordedFamily(t)))
}

func TestThePageForbidsItselfEverythingButItsStyle(t *testing.T) {
	text := string(html(t, recordedDesk(t)))
	_, rest, _ := strings.Cut(text, "<style>")
	sheet, _, _ := strings.Cut(rest, "</style>")
	want := escape(policy(sheet))
	if !strings.HasPrefix(policy(sheet), "default-src 'none'; style-src 'sha256-") || !strings.Contains(text, `content="`+want+`"`) {
		t.Errorf("the policy is not that of the sheet: %s", want)
	}
	if strings.Count(text, "<style") != 1 || strings.Contains(text, "style=") {
		t.Error("styles beside the sheet, which the policy forbids")
	}
	if policyAt, sheetAt := strings.Index(text, "Content-Security-Policy"), strings.Index(text, "<style>"); policyAt > sheetAt {
		t.Error("the policy comes after what it is for")
	}
}

func FuzzNothingOfAnybodyBecomesMarkup(f *testing.F) {
	for _, s := range nasty {
		f.Add(s[:min(len(s), 200)])
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := recordedHostile(t, []string{s})
		page := html(t, e)
		harmless(t, page)
		for _, d := range drawings(t, page) {
			apart(t, d)
		}
		harmless(t, svg(t, e, 0))
	})
}
