package tools

import "context"

// A Call says on whose behalf a tool runs. A tool gets it with [CallFrom].
//
// Tenant, User, Approver and Tags come from the Go code that started the run,
// never from a model, so that a tool may base permissions on them.
type Call struct {
	// Key names this call for ever: it is the same when the call is issued again
	// after an approval or a crash. Use it as the idempotency key of side effects.
	Key string
	// ID is the model's own id of the call. It need not be unique within a run.
	ID string
	// Tool is the name that was called.
	Tool string
	// Run and Agent say where the call belongs.
	Run, Agent string
	// Tenant and User say for whom the run works.
	Tenant, User string
	// Approver is the person who allowed the call, empty if none was asked.
	Approver string
	// Tags are the labels of the run. They are shared and must not be changed.
	Tags map[string]string
	// Step is the step of the run, Index the place of the call among those of the
	// step, Issue how often the call was issued before.
	Step, Index, Issue int
}

type callKey struct{}

// CallFrom returns the call a tool runs in, the zero Call outside of one.
func CallFrom(ctx context.Context) Call {
	call, _ := ctx.Value(callKey{}).(Call)
	return call
}

// WithCall returns a context from which [CallFrom] reads call. The loop uses it
// for every call; a test of a tool may use it likewise.
func WithCall(ctx context.Context, call Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}
