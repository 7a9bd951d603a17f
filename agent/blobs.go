package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"sync"
)

// Blobs keeps content by hash, so that State, ops and outcomes stay small. A
// blob never changes. Implementations must be safe for concurrent use.
type Blobs interface {
	// Put keeps data and returns its hash: [BlobHash]. Putting the same bytes
	// twice is one blob. The caller must not change data afterwards.
	Put(ctx context.Context, data []byte) (string, error)
	// Get returns the bytes behind hash, or [ErrNoBlob].
	Get(ctx context.Context, hash string) ([]byte, error)
}

// BlobHash names content: the first 16 bytes of its SHA-256, in hex.
func BlobHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// MemoryBlobs keeps blobs in memory. The zero value is ready; each run has one of
// its own unless [Config.Blobs] says otherwise, so that its content goes with it.
type MemoryBlobs struct {
	mu sync.RWMutex
	m  map[string][]byte
}

// Put keeps data.
func (b *MemoryBlobs) Put(_ context.Context, data []byte) (string, error) {
	h := BlobHash(data)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = make(map[string][]byte)
	}
	if _, ok := b.m[h]; !ok {
		b.m[h] = data
	}
	return h, nil
}

// Get returns the bytes behind hash.
func (b *MemoryBlobs) Get(_ context.Context, hash string) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	data, ok := b.m[hash]
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrNoBlob, hash)
	}
	return data, nil
}
