package pycalc

import (
	"strings"
	"testing"
)

func TestExpressionsComeOutAsInPython(t *testing.T) {
	for _, row := range []struct{ name, expression, want string }{
		{"ints print as a float", "2 + 2", "4.0"},
		{"parentheses", "430 + 412 - (136 + 109)", "597.0"},
		{"rounded to cents", "200.8 + 96.35 + 193.38 + 231.37 + 196.53", "918.43"},
		{"half to the even of the exact value", "2.675", "2.67"},
		{"negative", "135.24 - 153.23", "-17.99"},
		{"true division", "7 / 2", "3.5"},
		{"floor division", "7 // -2", "-4.0"},
		{"floor division of negatives", "-7 // -2", "3.0"},
		{"power binds to the right", "2**3**2", "512.0"},
		{"power before sign", "-2**2", "-4.0"},
		{"negative power", "2**-2", "0.25"},
		{"signs in a row", "- -3", "3.0"},
		{"large ints stay exact", "10**20 - 10**20 + 1", "1.0"},
		{"large floats have an exponent", "10**20", "1e+20"},
		{"dots", "1. + .5", "1.5"},
		{"zero by itself", "00", "0.0"},
		{"division by zero", "1 / 0", "Error: division by zero"},
		{"floor division by zero", "1 // 0", "Error: integer division or modulo by zero"},
		{"float division by zero", "1.0 / 0", "Error: float division by zero"},
		{"float floor division by zero", "1.5 // 0", "Error: float floor division by zero"},
		{"zero to a negative power", "0 ** -1", "Error: 0.0 cannot be raised to a negative power"},
		{"two numbers", "2 3", "Error: invalid syntax (<string>, line 1)"},
		{"a lone dot", ".", "Error: invalid syntax (<string>, line 1)"},
		{"three stars", "2 *** 3", "Error: invalid syntax (<string>, line 1)"},
		{"letters", "1e5", "Error: invalid characters in expression"},
		{"too large for a float", "10**400", "Error: int too large to convert to float"},
		{"without end", "9**9**9**9", "Error: int too large to convert to float"},
		{"not real", "(-8)**0.5", "Error: float() argument must be a string or a real number, not 'complex'"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := Eval(row.expression)
			said := got.String()
			if err != nil {
				said = "Error: " + err.Error()
			}
			if said != row.want {
				t.Errorf("%s = %s, want %s", row.expression, said, row.want)
			}
		})
	}
}

func FuzzEval(f *testing.F) {
	for _, s := range []string{"1 + 2", "2**3**2", "((", strings.Repeat("(", 500), strings.Repeat("-", 99) + "1", "9**9**9", "1//0", "1..2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := Eval(s)
		if err == nil && n != n.Round() {
			t.Errorf("%q = %v, which is not rounded", s, n)
		}
	})
}
