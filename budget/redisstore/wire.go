package redisstore

import (
	"encoding/binary"
	"math"
)

// Operations and answers are msgpack, the little of it that a script writes: arrays, texts and integers.

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
