package grid

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// newTransport returns a transport for many runs at once: idle connections are kept,
// since a new one costs more than a request, and connections bring their own copy
// buffer, since net/http would allocate 32 KiB for each request.
func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}
	buffers := &sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &bufferedConn{Conn: conn, buffers: buffers}, nil
		},
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        0,
		MaxIdleConnsPerHost: 4096,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
		DisableCompression:  true,
	}
}
