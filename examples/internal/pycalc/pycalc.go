// Package pycalc works out arithmetic as Python does: ints as large as they get,
// / always a float, ** binding tighter than a sign on its left.
package pycalc

import (
	"errors"
	"math"
	"math/big"
	"strings"

	"github.com/gridloop/gridloop/examples/internal/pyjson"
)

// Errors in the words that a model reads.
var (
	errChars   = errors.New("invalid characters in expression")
	errSyntax  = errors.New("invalid syntax (<string>, line 1)")
	errZero    = errors.New("division by zero")
	errLarge   = errors.New("int too large to convert to float")
	errFloor   = errors.New("integer division or modulo by zero")
	errPower   = errors.New("0.0 cannot be raised to a negative power")
	errComplex = errors.New("float() argument must be a string or a real number, not 'complex'")
)

// maxBits bounds what ** may build, and maxDepth the parentheses.
const (
	maxBits  = 1 << 14
	maxDepth = 200
)

// Eval is the value of an expression of numbers, + - * / // ** and parentheses,
// as a float rounded to two decimals.
func Eval(expression string) (pyjson.Number, error) {
	if strings.ContainsFunc(expression, func(r rune) bool { return !strings.ContainsRune("0123456789+-*/(). ", r) }) {
		return pyjson.Number{}, errChars
	}
	p := &parser{rest: expression}
	v, err := p.sum()
	if err != nil {
		return pyjson.Number{}, err
	}
	if p.peek() != "" {
		return pyjson.Number{}, errSyntax
	}
	f, err := v.float()
	if err != nil {
		return pyjson.Number{}, err
	}
	return pyjson.Float(f).Round(), nil
}

// A number is an int, or where that is nil a float.
type number struct {
	i *big.Int
	f float64
}

func (n number) float() (float64, error) {
	if n.i == nil {
		return n.f, nil
	}
	f, _ := new(big.Float).SetInt(n.i).Float64()
	if math.IsInf(f, 0) {
		return 0, errLarge
	}
	return f, nil
}

type parser struct {
	rest  string
	depth int
}

// peek is the operator or the first character that comes next, "" at the end.
func (p *parser) peek() string {
	p.rest = strings.TrimLeft(p.rest, " ")
	if p.rest == "" {
		return ""
	}
	if strings.HasPrefix(p.rest, "**") || strings.HasPrefix(p.rest, "//") {
		return p.rest[:2]
	}
	return p.rest[:1]
}

func (p *parser) next() string {
	t := p.peek()
	p.rest = p.rest[len(t):]
	return t
}

func (p *parser) sum() (number, error)     { return p.chain(p.product, "+", "-") }
func (p *parser) product() (number, error) { return p.chain(p.signed, "*", "/", "//") }

// chain joins operands of one rank from left to right.
func (p *parser) chain(operand func() (number, error), operators ...string) (number, error) {
	v, err := operand()
	for err == nil {
		op := p.peek()
		known := false
		for _, o := range operators {
			known = known || o == op
		}
		if !known {
			return v, nil
		}
		p.next()
		var right number
		if right, err = operand(); err == nil {
			v, err = apply(op, v, right)
		}
	}
	return v, err
}

func (p *parser) signed() (number, error) {
	negative := false
	for p.peek() == "+" || p.peek() == "-" {
		negative = (p.next() == "-") != negative
	}
	v, err := p.power()
	if err != nil || !negative {
		return v, err
	}
	if v.i != nil {
		return number{i: new(big.Int).Neg(v.i)}, nil
	}
	return number{f: -v.f}, nil
}

func (p *parser) power() (number, error) {
	base, err := p.operand()
	if err != nil || p.peek() != "**" {
		return base, err
	}
	p.next()
	if p.depth++; p.depth > maxDepth {
		return number{}, errSyntax
	}
	exponent, err := p.signed()
	p.depth--
	if err != nil {
		return number{}, err
	}
	return apply("**", base, exponent)
}

func (p *parser) operand() (number, error) {
	if p.peek() == "(" {
		p.next()
		if p.depth++; p.depth > maxDepth {
			return number{}, errSyntax
		}
		v, err := p.sum()
		p.depth--
		if err == nil && p.next() != ")" {
			err = errSyntax
		}
		return v, err
	}
	end := len(p.rest) - len(strings.TrimLeft(p.rest, "0123456789."))
	digits := p.rest[:end]
	p.rest = p.rest[end:]
	if !strings.Contains(digits, ".") {
		i, ok := new(big.Int).SetString(digits, 10)
		leadingZero := len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0") != ""
		if !ok || leadingZero || i.BitLen() > maxBits {
			return number{}, errSyntax
		}
		return number{i: i}, nil
	}
	n, err := pyjson.ParseNumber(digits)
	if err != nil || digits == "." {
		return number{}, errSyntax
	}
	return number{f: n.Float64()}, nil
}

func apply(op string, a, b number) (number, error) {
	if a.i != nil && b.i != nil {
		if v, done, err := ints(op, a.i, b.i); done || err != nil {
			return v, err
		}
	}
	x, err := a.float()
	if err != nil {
		return number{}, err
	}
	y, err := b.float()
	if err != nil {
		return number{}, err
	}
	return floats(op, x, y)
}

// ints applies an operator that stays within the ints; done is false for one that
// does not.
func ints(op string, a, b *big.Int) (v number, done bool, err error) {
	i := new(big.Int)
	switch op {
	case "+":
		i.Add(a, b)
	case "-":
		i.Sub(a, b)
	case "*":
		i.Mul(a, b)
	case "/":
		if b.Sign() == 0 {
			return number{}, false, errZero
		}
		return number{}, false, nil
	case "//":
		if b.Sign() == 0 {
			return number{}, false, errFloor
		}
		if _, m := i.DivMod(a, b, new(big.Int)); m.Sign() != 0 && b.Sign() < 0 {
			i.Sub(i, big.NewInt(1)) // Euclid's quotient is not the floor for a negative divisor
		}
	case "**":
		if b.Sign() < 0 {
			return number{}, false, nil
		}
		if a.BitLen() > 1 && (!b.IsInt64() || b.Int64() > maxBits/int64(a.BitLen()-1)) {
			return number{}, false, errLarge
		}
		i.Exp(a, b, nil)
	default:
		return number{}, false, nil
	}
	if i.BitLen() > 2*maxBits {
		return number{}, false, errLarge
	}
	return number{i: i}, true, nil
}

func floats(op string, x, y float64) (number, error) {
	switch op {
	case "+":
		return number{f: x + y}, nil
	case "-":
		return number{f: x - y}, nil
	case "*":
		return number{f: x * y}, nil
	case "**":
		if x == 0 && y < 0 {
			return number{}, errPower
		}
		if x < 0 && y != math.Trunc(y) {
			return number{}, errComplex
		}
		f := math.Pow(x, y)
		if math.IsInf(f, 0) && !math.IsInf(x, 0) {
			return number{}, errors.New("(34, 'Numerical result out of range')")
		}
		return number{f: f}, nil
	}
	if y == 0 {
		if op == "//" {
			return number{}, errors.New("float floor division by zero")
		}
		return number{}, errors.New("float division by zero")
	}
	if op == "//" {
		return number{f: math.Floor(x / y)}, nil
	}
	return number{f: x / y}, nil
}
