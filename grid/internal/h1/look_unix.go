//go:build unix

package h1

import (
	"io"
	"syscall"
)

// CanLook tells that the kernel can be asked what has arrived on a connection. Where it
// cannot, a connection that died while it was idle would be found by the request it
// costs, and net/http is the better choice.
const CanLook = true

// readNow reads from a descriptor that does not block.
func readNow(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nothing{}
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
