package gridtest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
)

// digest mixes the seed with what an id is for, so that the same seed gives
// the same ids in the same order of requests.
func (m *Market) digest(kind string, n uint64) [sha256.Size]byte {
	b := binary.BigEndian.AppendUint64(nil, m.config.Seed)
	b = binary.BigEndian.AppendUint64(b, n)
	return sha256.Sum256(append(b, kind...))
}

func (m *Market) hex(kind string, n int) string {
	d := m.digest(kind, uint64(n))
	return hex.EncodeToString(d[:16])
}

// bytes64 has the form of an Ed25519 seed in base64, as trading keys have.
func (m *Market) bytes64(kind string, n int) string {
	d := m.digest(kind, uint64(n))
	return base64.StdEncoding.EncodeToString(d[:])
}

// chance is a number in [0, 1) that depends on the seed and its arguments only.
func (m *Market) chance(kind string, n uint64) float64 {
	d := m.digest(kind, n)
	return float64(binary.BigEndian.Uint64(d[:8])>>11) / (1 << 53)
}
