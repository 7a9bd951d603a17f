package budget

import (
	"context"
	"fmt"
	"time"
)

// Top lists who spent most of a meter, lately or in a given time, with the pace and how long the tightest cap of that
// scope lasts at it.
func (l *Ledger) Top(ctx context.Context, q TopQuery) ([]TopRow, error) {
	q, err := q.filled()
	if err != nil {
		return nil, err
	}
	rows, err := l.store.Top(ctx, l.account, q)
	if err != nil {
		return nil, l.fail("top", err)
	}
	if !q.Until.IsZero() && q.Until.Before(l.now()) {
		for i := range rows {
			rows[i].Runway = NoRunway // that time is over
		}
		return rows, nil
	}
	for i := range rows {
		if err := l.runway(ctx, q.Meter, &rows[i]); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// filled writes the defaults out and reports mistakes, all at once.
func (q TopQuery) filled() (TopQuery, error) {
	if q.Meter == "" {
		q.Meter = MeterMoney
		if q.By == ScopeTool {
			q.Meter = MeterToolCalls // no money is reserved for a tool
		}
	}
	if q.For == 0 {
		q.For = time.Hour
	}
	if q.Limit == 0 {
		q.Limit = 10
	}
	var errs fieldErrors
	if !validKind(q.By) {
		errs.add("By", fmt.Sprintf("%q is no kind of scope", clip(q.By)), kindsFix)
	}
	errs.wrap("", q.Meter.Validate())
	if q.For < 0 || q.Limit < 0 {
		errs.add("For, Limit", "negative", "write 0 for the default, or more")
	}
	for _, at := range []struct {
		field string
		t     time.Time
	}{{"Since", q.Since}, {"Until", q.Until}} {
		if y := at.t.UTC().Year(); !at.t.IsZero() && (y < 1970 || y > 2200) {
			errs.add(at.field, fmt.Sprintf("the year %d", y), "write a time near the present, or leave it out")
		}
	}
	if !q.Since.IsZero() && !q.Until.IsZero() && !q.Since.Before(q.Until) {
		errs.add("Until", "it does not come after Since", "write the end of the time to look at")
	}
	return q, errs.join()
}

// runway looks at the caps that count this scope; those of the whole account are everybody's.
func (l *Ledger) runway(ctx context.Context, m Meter, row *TopRow) error {
	row.Runway, row.Cap = NoRunway, ""
	if row.PerMinute <= 0 {
		return nil
	}
	caps, err := l.Snapshot(ctx, row.Scope)
	if err != nil {
		return err
	}
	now := l.now()
	for _, c := range caps {
		if c.Meter != m || c.Limit == None || c.Scope != row.Scope {
			continue
		}
		if d := c.lasts(now, row.PerMinute); d < row.Runway {
			row.Runway, row.Cap = d, c.Cap
		}
	}
	return nil
}

// lasts is how long the cap lasts at a pace: in this turn of its window, or in the next one, which begins with nothing
// spent; NoRunway if neither is long enough. Of a rolling window, what leaves it meanwhile is reckoned with only if the pace
// is one that it bears for ever.
func (c *CapState) lasts(now time.Time, perMinute int64) time.Duration {
	left := spending(max(c.Left, 0), perMinute)
	window, err := ParseWindow(c.Window)
	if err != nil || left == 0 {
		return left
	}
	if length, bucket := window.Rolls(); length > 0 && left >= length+bucket {
		return NoRunway // by then all that was spent until now has left, and so on
	}
	if c.Reset.IsZero() {
		return left
	}
	next := window.At(c.Reset)
	toTurn := max(c.Reset.Sub(now), 0)
	if left < toTurn || next.End.IsZero() {
		return left
	}
	if whole := spending(c.Limit, perMinute); whole < next.End.Sub(next.Start) {
		return toTurn + whole
	}
	return NoRunway
}

// spending is how long an amount lasts at a pace above zero.
func spending(amount, perMinute int64) time.Duration {
	d := float64(amount) / float64(perMinute) * float64(time.Minute)
	if d >= float64(NoRunway) {
		return NoRunway
	}
	return time.Duration(d)
}
