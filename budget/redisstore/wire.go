package redisstore

import (
	"encoding/binary"
	"math"
)

// Reserving, settling and what is answered to them are flat: numbers of fixed width, and texts after their length, because a
// script reads and writes those fastest. All other operations and answers are msgpack, the little of it that a script writes:
// arrays, texts and integers.

// packed is a message being written.
type packed []byte

func (p packed) array(n int) packed {
	if n < 16 {
		return append(p, 0x90|byte(n))
	}
	return binary.BigEndian.AppendUint32(append(p, 0xdd), uint32(n))
}

func (p packed) text(s string) packed {
	if len(s) < 32 {
		p = append(p, 0xa0|byte(len(s)))
	} else {
		p = binary.BigEndian.AppendUint32(append(p, 0xdb), uint32(len(s)))
	}
	return append(p, s...)
}

func (p packed) int(n int64) packed {
	if n >= 0 && n < 128 {
		return append(p, byte(n))
	}
	return binary.BigEndian.AppendUint64(append(p, 0xd3), uint64(n))
}

func (p packed) flag(b bool) packed {
	if b {
		return p.int(1)
	}
	return p.int(0)
}

func (p packed) texts(list []string) packed {
	p = p.array(len(list))
	for _, s := range list {
		p = p.text(s)
	}
	return p
}

// The flat form. double holds every number up to 2^53.

func (p packed) short(n int) packed { return binary.LittleEndian.AppendUint16(p, uint16(n)) }
func (p packed) double(n int64) packed {
	return binary.LittleEndian.AppendUint64(p, math.Float64bits(float64(n)))
}
func (p packed) flat(s string) packed {
	return append(binary.LittleEndian.AppendUint32(p, uint32(len(s))), s...)
}

func (p packed) brief(s string) packed { return append(p.short(len(s)), s...) }
func (p packed) byte(n int) packed     { return append(p, byte(n)) }

func (p packed) bit(b bool) packed {
	if b {
		return append(p, 1)
	}
	return append(p, 0)
}

// unpacked is a message being read. After the first thing that is not what was asked for, everything is zero and bad is set.
type unpacked struct {
	rest string
	bad  bool
}

func (u *unpacked) take(n uint64) string {
	if n > uint64(len(u.rest)) {
		u.bad = true
		u.rest = ""
		return ""
	}
	s := u.rest[:n]
	u.rest = u.rest[n:]
	return s
}

func (u *unpacked) number(bytes uint64) uint64 {
	n := uint64(0)
	s := u.take(bytes)
	for i := range len(s) {
		n = n<<8 | uint64(s[i])
	}
	return n
}

func (u *unpacked) fail() { u.bad, u.rest = true, "" }

// array answers how many elements follow, never more than there are bytes.
func (u *unpacked) array() int {
	n := uint64(0)
	switch c := u.number(1); {
	case c>>4 == 0x9:
		n = c & 15
	case c == 0xdc:
		n = u.number(2)
	case c == 0xdd:
		n = u.number(4)
	default:
		u.fail()
	}
	if n > uint64(len(u.rest)) {
		u.fail()
	}
	if u.bad {
		return 0
	}
	return int(n)
}

func (u *unpacked) text() string {
	switch c := u.number(1); {
	case c>>5 == 0x5:
		return u.take(c & 31)
	case c == 0xd9 || c == 0xc4:
		return u.take(u.number(1))
	case c == 0xda || c == 0xc5:
		return u.take(u.number(2))
	case c == 0xdb || c == 0xc6:
		return u.take(u.number(4))
	}
	u.fail()
	return ""
}

func (u *unpacked) int() int64 {
	switch c := u.number(1); {
	case u.bad:
	case c < 0x80:
		return int64(c)
	case c >= 0xe0:
		return int64(int8(c))
	case c == 0xcc:
		return int64(u.number(1))
	case c == 0xcd:
		return int64(u.number(2))
	case c == 0xce:
		return int64(u.number(4))
	case c == 0xcf:
		if n := u.number(8); n <= math.MaxInt64 {
			return int64(n)
		}
		u.fail()
	case c == 0xd0:
		return int64(int8(u.number(1)))
	case c == 0xd1:
		return int64(int16(u.number(2)))
	case c == 0xd2:
		return int64(int32(u.number(4)))
	case c == 0xd3:
		return int64(u.number(8))
	default:
		u.fail()
	}
	return 0
}

func (u *unpacked) texts() []string {
	n := u.array()
	out := make([]string, 0, n)
	for range n {
		out = append(out, u.text())
	}
	return out
}

func (u *unpacked) byte() byte {
	if s := u.take(1); s != "" {
		return s[0]
	}
	return 0
}

func (u *unpacked) short() int {
	s := u.take(2)
	if s == "" {
		return 0
	}
	return int(s[0]) | int(s[1])<<8
}

// double reads a whole number that is not below -1, which is none.
func (u *unpacked) double() int64 {
	s := u.take(8)
	if s == "" {
		return 0
	}
	bits := uint64(0)
	for i := range 8 {
		bits |= uint64(s[i]) << (8 * i)
	}
	f := math.Float64frombits(bits)
	if f >= -1 && f <= 1<<53 {
		return int64(f)
	}
	u.fail()
	return 0
}

func (u *unpacked) flat() string {
	s := u.take(4)
	if s == "" {
		return ""
	}
	return u.take(uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24)
}

func (u *unpacked) brief() string { return u.take(uint64(u.short())) }
