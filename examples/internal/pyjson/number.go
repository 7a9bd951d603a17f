package pyjson

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/invopop/jsonschema"
)

// Number is an int or a float, as in Python: 300 and 300.0 are equal, and print
// differently. The zero Number is the int 0. Ints have 64 bits here; arithmetic
// that leaves them goes on as a float.
type Number struct {
	i       int64
	f       float64
	isFloat bool
}

// Int is an int.
func Int(i int) Number { return Number{i: int64(i)} }

// Float is a float.
func Float(f float64) Number { return Number{f: f, isFloat: true} }

// ParseNumber reads a number as JSON writes it.
func ParseNumber(s string) (Number, error) {
	if strings.ContainsAny(s, ".eE") {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return Number{}, fmt.Errorf("pyjson: %.40q is no number that a float holds", s)
		}
		return Float(f), nil
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return Number{}, fmt.Errorf("pyjson: %.40q is no number that an int of 64 bits holds", s)
	}
	return Number{i: i}, nil
}

// UnmarshalJSON reads a number.
func (n *Number) UnmarshalJSON(b []byte) (err error) {
	*n, err = ParseNumber(string(b))
	return err
}

// JSONSchema makes a number of it in the schema of a tool.
func (Number) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{Type: "number"} }

// Float64 is the number as a float.
func (n Number) Float64() float64 {
	if n.isFloat {
		return n.f
	}
	return float64(n.i)
}

// Add is n + m.
func (n Number) Add(m Number) Number {
	if s := n.i + m.i; !n.isFloat && !m.isFloat && (s > n.i) == (m.i > 0) {
		return Number{i: s}
	}
	return Float(n.Float64() + m.Float64())
}

// Neg is -n.
func (n Number) Neg() Number {
	if !n.isFloat && n.i != math.MinInt64 {
		return Number{i: -n.i}
	}
	return Float(-n.Float64())
}

// Sub is n - m.
func (n Number) Sub(m Number) Number { return n.Add(m.Neg()) }

// Times is n added up k times, for counts.
func (n Number) Times(k int) Number {
	if p := n.i * int64(k); !n.isFloat && (k == 0 || p/int64(k) == n.i) {
		return Number{i: p}
	}
	return Float(n.Float64() * float64(k))
}

// Abs is n without its sign.
func (n Number) Abs() Number {
	if n.Sign() < 0 {
		return n.Neg()
	}
	return n
}

// Round is Python's round(n, 2): to the even one of two that are equally near the
// exact value. An int stays as it is.
func (n Number) Round() Number {
	if !n.isFloat {
		return n
	}
	f, err := strconv.ParseFloat(strconv.FormatFloat(n.f, 'f', 2, 64), 64)
	if err != nil {
		return n
	}
	return Float(f)
}

// Sign is -1, 0 or 1.
func (n Number) Sign() int { return n.Cmp(Number{}) }

// Cmp compares by value: 300 and 300.0 are equal.
func (n Number) Cmp(m Number) int {
	if !n.isFloat && !m.isFloat {
		return cmp.Compare(n.i, m.i)
	}
	return cmp.Compare(n.Float64(), m.Float64())
}

// String is what Python's repr and json.dumps print.
func (n Number) String() string {
	if !n.isFloat {
		return strconv.FormatInt(n.i, 10)
	}
	switch a := math.Abs(n.f); {
	case math.IsInf(n.f, 1):
		return "inf"
	case math.IsInf(n.f, -1):
		return "-inf"
	case math.IsNaN(n.f):
		return "nan"
	case a != 0 && (a < 1e-4 || a >= 1e16):
		return strconv.FormatFloat(n.f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(n.f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// norm is the number in the form of a hash: a float that is whole is an int.
func (n Number) norm() string {
	if n.isFloat && n.f == math.Trunc(n.f) && math.Abs(n.f) < 1<<53 {
		return strconv.FormatInt(int64(n.f), 10)
	}
	return n.String()
}
