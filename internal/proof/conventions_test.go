package proof

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/gridloop/gridloop/tracing"
)

var valueKinds = map[attribute.Type]string{
	attribute.STRING: "string", attribute.INT64: "int", attribute.FLOAT64: "double", attribute.BOOL: "boolean", attribute.STRINGSLICE: "string[]",
}

type rule struct{ kind, level string }

// conventional is what the GenAI conventions v0.1.0 and the HTTP conventions say about the attributes that we record: type and
// level on each span. The level "later" marks what came after the registry of 2026-08-03.
var conventional = map[string]map[string]rule{
	"invoke_agent": {
		"gen_ai.operation.name":      {"string", "required"},
		"gen_ai.agent.name":          {"string", "conditionally_required"},
		"gen_ai.agent.description":   {"string", "conditionally_required"},
		"gen_ai.conversation.id":     {"string", "conditionally_required"},
		"error.type":                 {"string", "conditionally_required"},
		"gen_ai.usage.input_tokens":  {"int", "recommended"},
		"gen_ai.usage.output_tokens": {"int", "recommended"},
	},
	"chat": {
		"gen_ai.operation.name":                {"string", "required"},
		"gen_ai.provider.name":                 {"string", "required"},
		"gen_ai.request.model":                 {"string", "conditionally_required"},
		"server.address":                       {"string", "recommended"},
		"server.port":                          {"int", "conditionally_required"},
		"gen_ai.conversation.id":               {"string", "conditionally_required"},
		"gen_ai.request.max_tokens":            {"int", "recommended"},
		"gen_ai.request.temperature":           {"double", "recommended"},
		"gen_ai.request.top_p":                 {"double", "recommended"},
		"gen_ai.request.seed":                  {"int", "conditionally_required"},
		"gen_ai.request.stop_sequences":        {"string[]", "recommended"},
		"gen_ai.request.stream":                {"boolean", "conditionally_required"},
		"gen_ai.request.reasoning.level":       {"string", "recommended"},
		"gen_ai.output.type":                   {"string", "conditionally_required"},
		"gen_ai.response.model":                {"string", "recommended"},
		"gen_ai.response.id":                   {"string", "recommended"},
		"gen_ai.response.finish_reasons":       {"string[]", "recommended"},
		"gen_ai.response.time_to_first_chunk":  {"double", "recommended"},
		"gen_ai.usage.input_tokens":            {"int", "recommended"},
		"gen_ai.usage.output_tokens":           {"int", "recommended"},
		"gen_ai.usage.cache_read.input_tokens": {"int", "recommended"},
		"gen_ai.usage.reasoning.output_tokens": {"int", "recommended"},
		"gen_ai.input.messages":                {"string", "opt_in"},
		"gen_ai.output.messages":               {"string", "opt_in"},
		"gen_ai.system_instructions":           {"string", "opt_in"},
		"gen_ai.tool.definitions":              {"string", "opt_in"},
		"error.type":                           {"string", "conditionally_required"},
	},
	"execute_tool": {
		"gen_ai.operation.name":      {"string", "required"},
		"gen_ai.tool.name":           {"string", "required"},
		"gen_ai.tool.type":           {"string", "recommended"},
		"gen_ai.tool.description":    {"string", "recommended"},
		"gen_ai.tool.call.id":        {"string", "recommended"},
		"gen_ai.tool.call.arguments": {"string", "opt_in"},
		"gen_ai.tool.call.result":    {"string", "opt_in"},
		"gen_ai.agent.name":          {"string", "conditionally_required"},
		"gen_ai.conversation.id":     {"string", "later"},
		"error.type":                 {"string", "conditionally_required"},
	},
	"POST": {
		"http.request.method":       {"string", "required"},
		"url.full":                  {"string", "required"},
		"server.address":            {"string", "required"},
		"server.port":               {"int", "required"},
		"http.request.resend_count": {"int", "recommended"},
		"http.response.status_code": {"int", "conditionally_required"},
		"error.type":                {"string", "conditionally_required"},
	},
	"gridloop.topup_wait": {
		"error.type": {"string", "conditionally_required"},
	},
}

// ours is what the conventions do not cover, without the prefix.
var ours = map[string]map[string]string{
	"invoke_agent": {
		"run.id":                  "string",
		"run.steps":               "int",
		"run.model_calls":         "int",
		"run.tool_calls":          "int",
		"run.stop_reason":         "string",
		"run.usage.input_tokens":  "int",
		"run.usage.output_tokens": "int",
		"run.cost.nano_usd":       "int",
		"run.instruments":         "string[]",
		"run.retries":             "int",
		"run.escalations":         "int",
	},
	"chat": {
		"agent.name":                "string",
		"step.index":                "int",
		"step.kind":                 "string",
		"stream.reason":             "string",
		"step.final":                "boolean",
		"instrument":                "string",
		"instrument.family":         "string",
		"instrument.tier":           "string",
		"route.policy":              "string",
		"route.reason":              "string",
		"route.rule":                "string",
		"route.requested":           "string",
		"route.escalated":           "boolean",
		"cost.nano_usd":             "int",
		"cost.source":               "string",
		"budget.reserved.nano_usd":  "int",
		"budget.remaining.nano_usd": "int",
		"retry.attempts":            "int",
		"retry.wait":                "double",
		"topup.wait":                "double",
		"topup.outcome":             "string",
		"request.id":                "string",
		"content.truncated":         "boolean",
	},
	"execute_tool": {
		"step.index":        "int",
		"tool.index":        "int",
		"tool.parallel":     "boolean",
		"tool.approval":     "string",
		"tool.abandoned":    "boolean",
		"content.truncated": "boolean",
	},
	"POST": {
		"instrument":         "string",
		"budget.reservation": "string",
		"billed":             "string",
		"request.id":         "string",
		"redirect.host":      "string",
	},
	"gridloop.topup_wait": {
		"instrument":    "string",
		"topup.outcome": "string",
		"topup.tries":   "int",
	},
}

// family is the first word of a span's name, which is what the tables are about.
func family(name string) string {
	first, _, _ := strings.Cut(name, " ")
	return first
}

func TestEveryAttributeIsInTheTableAndEveryRowIsRecorded(t *testing.T) {
	t.Setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "span_only")
	r := record(t, tracing.Config{RunUsage: true, ContentLimit: 80})
	refund(r)
	seen := map[string]map[string]bool{}
	for _, s := range r.spans.Ended() {
		span := family(s.Name())
		if conventional[span] == nil {
			t.Errorf("no table for span %q", s.Name())
			continue
		}
		if seen[span] == nil {
			seen[span] = map[string]bool{}
		}
		have := attributes(s)
		for key, value := range have {
			seen[span][string(key)] = true
			want := conventional[span][string(key)].kind
			if bare, is := strings.CutPrefix(string(key), "gridloop."); is {
				want = ours[span][bare]
			}
			if got := valueKinds[value.Type()]; want == "" || got != want {
				t.Errorf("%s: %s is a %s, the table says %q", s.Name(), key, got, want)
			}
			if value.Type() == attribute.STRING && value.AsString() == "" {
				t.Errorf("%s: %s is empty", s.Name(), key)
			}
		}
		for key, rule := range conventional[span] {
			if _, ok := have[attribute.Key(key)]; rule.level == "required" && !ok {
				t.Errorf("%s lacks the required %s", s.Name(), key)
			}
		}
	}
	for span, rows := range conventional {
		for key := range rows {
			if !seen[span][key] && span != "gridloop.topup_wait" {
				t.Errorf("%s: %s is in the table and was not recorded", span, key)
			}
		}
		for key := range ours[span] {
			if !seen[span]["gridloop."+key] {
				t.Errorf("%s: gridloop.%s is in the table and was not recorded", span, key)
			}
		}
	}
}

// TestTheTableAgreesWithTheRegistry compares our table with the resolved registry of 2026-08-03.
func TestTheTableAgreesWithTheRegistry(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(recordings(t), "semconv", "tables.txt"))
	if err != nil {
		t.Fatal(err)
	}
	registry := map[string]map[string]rule{}
	var current map[string]rule
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		switch {
		case len(words) >= 3 && words[0] == "##":
			current = map[string]rule{}
			registry[words[1]+" "+words[2]] = current
		case len(words) >= 3 && current != nil:
			current[words[0]] = rule{words[1], words[2]}
		}
	}
	for ours, theirs := range map[string]string{
		"invoke_agent": "span gen_ai.invoke_agent.internal",
		"chat":         "span gen_ai.inference.client", // gen_ai.client.inference in v0.1.0
		"execute_tool": "span gen_ai.execute_tool.internal",
	} {
		rows := registry[theirs]
		if rows == nil {
			t.Fatalf("%s is not in the registry", theirs)
		}
		for key, mine := range conventional[ours] {
			if mine.level == "later" {
				continue
			}
			row, ok := rows[key]
			switch row.kind {
			case "enum", "any": // content is structure or, on spans, a string
				row.kind = "string"
			}
			if !ok || row != mine {
				t.Errorf("%s: %s is %+v in our table and %+v in the registry", ours, key, mine, row)
			}
		}
		for key, row := range rows {
			if _, ok := conventional[ours][key]; row.level == "required" && !ok {
				t.Errorf("%s: %s is required and not in our table", ours, key)
			}
		}
	}
}

func TestKeysAreThoseOfTheGoPackage(t *testing.T) {
	known := map[string]bool{}
	for _, key := range []attribute.Key{
		semconv.GenAIOperationNameKey, semconv.GenAIProviderNameKey, semconv.GenAIAgentNameKey, semconv.GenAIAgentDescriptionKey, semconv.GenAIConversationIDKey,
		semconv.GenAIRequestModelKey, semconv.GenAIRequestMaxTokensKey, semconv.GenAIRequestTemperatureKey, semconv.GenAIRequestTopPKey, semconv.GenAIRequestSeedKey,
		semconv.GenAIRequestStopSequencesKey, semconv.GenAIRequestStreamKey, semconv.GenAIOutputTypeKey, semconv.GenAIResponseModelKey, semconv.GenAIResponseIDKey,
		semconv.GenAIResponseFinishReasonsKey, semconv.GenAIResponseTimeToFirstChunkKey, semconv.GenAIUsageInputTokensKey, semconv.GenAIUsageOutputTokensKey,
		semconv.GenAIUsageCacheReadInputTokensKey, semconv.GenAIUsageReasoningOutputTokensKey, semconv.GenAIInputMessagesKey, semconv.GenAIOutputMessagesKey,
		semconv.GenAISystemInstructionsKey, semconv.GenAIToolDefinitionsKey, semconv.GenAIToolNameKey, semconv.GenAIToolTypeKey, semconv.GenAIToolDescriptionKey,
		semconv.GenAIToolCallIDKey, semconv.GenAIToolCallArgumentsKey, semconv.GenAIToolCallResultKey, semconv.ErrorTypeKey, semconv.ServerAddressKey, semconv.ServerPortKey,
		semconv.HTTPRequestMethodKey, semconv.HTTPRequestResendCountKey, semconv.HTTPResponseStatusCodeKey, semconv.URLFullKey,
	} {
		known[string(key)] = true
	}
	later := []string{"gen_ai.request.reasoning.level"} // after v1.41.0
	for span, rows := range conventional {
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			if !known[key] && !slices.Contains(later, key) {
				t.Errorf("%s: %s is not in semconv v1.41.0", span, key)
			}
		}
	}
}
