package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/gridloop/gridloop/tools"
)

// The benchmark's work: six tools of a parcel desk, the same funcs for both loops.

const deskInstructions = "You work at the desk of a parcel service. Read what is on record before you answer, and never guess: " +
	"an order, a parcel and a customer each have a number. Fees are paid back only when a parcel came later than promised, " +
	"and only once. Say what you did in one sentence, without names and without addresses. Where a record is missing, say so and ask for the number."

const deskTask = "Customer 1007 writes that order 4711 came late, and asks where the second parcel is and whether the fee is paid back."

// desk remembers when its calls returned, if it is asked to.
type desk struct {
	mu       sync.Mutex
	watched  bool
	returned []time.Time // by step; the first is when the run began
}

// begin is called before each run.
func (d *desk) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.returned = append(d.returned[:0], time.Now())
}

func (d *desk) done() {
	if !d.watched {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.returned = append(d.returned, time.Now())
}

// since is how long ago the call before a step returned.
func (d *desk) since(step int) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Since(d.returned[step])
}

type orderQuery struct {
	Order   string `json:"order" jsonschema:"minLength=1,maxLength=32" jsonschema_description:"the number of the order, as the customer wrote it, without blanks"`
	Details bool   `json:"details,omitempty" jsonschema_description:"also list the positions of the order, with their prices in cents"`
}

type orderRecord struct {
	Order    string `json:"order"`
	Customer int    `json:"customer"`
	Status   string `json:"status"`
	Promised string `json:"promised"`
	Cents    int    `json:"cents"`
	Parcels  []int  `json:"parcels"`
}

func (d *desk) order(_ context.Context, in orderQuery) (orderRecord, error) {
	defer d.done()
	return orderRecord{in.Order, 1007, "shipped in two parcels", "2026-03-02", 4990, []int{81, 82}}, nil
}

type parcelQuery struct {
	Parcel int    `json:"parcel" jsonschema:"minimum=1" jsonschema_description:"the number of the parcel, as it stands in the order's record"`
	Since  string `json:"since,omitempty" jsonschema_description:"only what happened since this day, written as 2026-03-01; without it the whole way"`
}

type parcelRecord struct {
	Parcel int    `json:"parcel"`
	Where  string `json:"where"`
	At     string `json:"at"`
	Due    string `json:"due"`
	Late   bool   `json:"late"`
}

func (d *desk) parcel(_ context.Context, in parcelQuery) (parcelRecord, error) {
	defer d.done()
	return parcelRecord{in.Parcel, "in the depot, waiting for the morning's tour", "2026-03-04T18:20:00Z", "2026-03-05", true}, nil
}

type customerQuery struct {
	Customer int      `json:"customer" jsonschema:"minimum=1" jsonschema_description:"the customer's number, never a name"`
	Fields   []string `json:"fields" jsonschema:"enum=since,enum=orders,enum=notes,enum=returns" jsonschema_description:"what to read of the customer's record; name only what is needed"`
}

type customerRecord struct {
	Customer int    `json:"customer"`
	Since    string `json:"since"`
	Orders   int    `json:"orders"`
	Notes    string `json:"notes"`
}

func (d *desk) customer(_ context.Context, in customerQuery) (customerRecord, error) {
	defer d.done()
	return customerRecord{in.Customer, "2021-06", 34, "wrote twice about parcel 82; no answer yet"}, nil
}

type feeQuery struct {
	Order  string `json:"order" jsonschema:"minLength=1,maxLength=32" jsonschema_description:"the number of the order whose fee may be paid back"`
	Reason string `json:"reason" jsonschema:"enum=late,enum=damaged,enum=lost" jsonschema_description:"why the fee may be due back; late needs a parcel that came after its promised day"`
}

type feeRecord struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
	Due   bool   `json:"due"`
	Why   string `json:"why"`
}

func (d *desk) fee(_ context.Context, in feeQuery) (feeRecord, error) {
	defer d.done()
	return feeRecord{in.Order, 490, true, "parcel 82 came three days after the promised day, and nothing was paid back before"}, nil
}

type placeQuery struct {
	Code    string `json:"code" jsonschema:"minLength=3,maxLength=10" jsonschema_description:"the postal code of the place"`
	Country string `json:"country" jsonschema:"pattern=^[A-Z]{2}$" jsonschema_description:"two capital letters, as in ISO 3166"`
	Limit   int    `json:"limit,omitempty" jsonschema:"minimum=1,maximum=20" jsonschema_description:"how many depots to list at most, the nearest first; five when it is left out"`
}

type placeRecord struct {
	Code   string   `json:"code"`
	Depots []string `json:"depots"`
	Open   string   `json:"open"`
}

func (d *desk) place(_ context.Context, in placeQuery) (placeRecord, error) {
	defer d.done()
	return placeRecord{in.Code, []string{"north, at the old harbour", "main station, track 1", "market hall"}, "from 7 to 19 o'clock, not on Sundays"}, nil
}

type noteQuery struct {
	Customer int    `json:"customer" jsonschema:"minimum=1" jsonschema_description:"whose record the note belongs to"`
	Text     string `json:"text" jsonschema:"minLength=1,maxLength=500" jsonschema_description:"the note, in one or two sentences, for colleagues who read it tomorrow"`
}

type noteRecord struct {
	Note     int    `json:"note"`
	Customer int    `json:"customer"`
	Text     string `json:"text"`
	At       string `json:"at"`
}

func (d *desk) note(_ context.Context, in noteQuery) (noteRecord, error) {
	defer d.done()
	return noteRecord{55021, in.Customer, in.Text, "2026-03-04T19:02:11Z"}, nil
}

// deskTools are the tools as the loop takes them.
func deskTools(d *desk) []tools.Tool {
	return []tools.Tool{
		tools.New("read_order", "Reads the record of one order: its customer, its state, the promised day, its price and the numbers of its parcels.", d.order, tools.ReadOnly()),
		tools.New("find_parcel", "Says where a parcel is, when it was seen there last, and whether it is late.", d.parcel, tools.ReadOnly()),
		tools.New("read_customer", "Reads parts of a customer's record. Take the number from the order, not from the letter.", d.customer, tools.ReadOnly()),
		tools.New("check_fee", "Says whether the fee of an order is due back, and how much it is.", d.fee, tools.ReadOnly()),
		tools.New("list_depots", "Lists depots near a place, with their hours.", d.place, tools.ReadOnly()),
		tools.New("read_note", "Looks up the note that stands in a customer's record for a text.", d.note, tools.ReadOnly()),
	}
}

// call is what a program without a framework has in place of a tool set: a switch.
func (d *desk) call(ctx context.Context, name, args string) (string, error) {
	switch name {
	case "read_order":
		return reply(ctx, args, d.order)
	case "find_parcel":
		return reply(ctx, args, d.parcel)
	case "read_customer":
		return reply(ctx, args, d.customer)
	case "check_fee":
		return reply(ctx, args, d.fee)
	case "list_depots":
		return reply(ctx, args, d.place)
	case "read_note":
		return reply(ctx, args, d.note)
	}
	return "", fmt.Errorf("there is no tool %q", name)
}

func reply[In, Out any](ctx context.Context, args string, f func(context.Context, In) (Out, error)) (string, error) {
	var in In
	if err := json.Unmarshal([]byte(args), &in); err != nil {
		return "", err
	}
	out, err := f(ctx, in)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// deskCall is a call that the script makes.
type deskCall struct{ name, args string }

var deskCalls = []deskCall{
	{"read_order", `{"order":"4711","details":true}`},
	{"find_parcel", `{"parcel":82,"since":"2026-03-01"}`},
	{"read_customer", `{"customer":1007,"fields":["since","orders","notes"]}`},
	{"check_fee", `{"order":"4711","reason":"late"}`},
	{"list_depots", `{"code":"20457","country":"DE","limit":3}`},
	{"read_note", `{"customer":1007,"text":"Parcel 82 is late; the fee is due back."}`},
}
