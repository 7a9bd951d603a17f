package h1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// differ compares what both transports make of a server's bytes, sent in two pieces,
// before the connection is closed.
func differ(t *testing.T, method, answer string, cut int) {
	t.Helper()
	cut = min(max(cut, 0), len(answer))
	var got [2]string
	for i := range got {
		w := &network{pipes: true, serve: func(_ int, p *peer) {
			if _, _, err := p.request(); err != nil {
				return
			}
			_ = p.SetWriteDeadline(time.Now().Add(5 * time.Second))
			for _, piece := range []string{answer[:cut], answer[cut:]} {
				if piece != "" {
					p.say(piece)
				}
			}
		}}
		own := &Transport{Other: noOther{}, Dial: w.dial, MaxHeaderBytes: 64 << 10}
		std := &http.Transport{DialContext: w.dial, DisableCompression: true, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
		rt := []http.RoundTripper{own, std}[i]
		r := post(t.Context(), "")
		r.Method = method
		got[i] = told(rt, r)
		own.CloseIdleConnections()
		std.CloseIdleConnections()
		w.all.Wait()
	}
	if got[0] != got[1] {
		t.Errorf("%s %q, cut at %d\n is %s\nwant %s", method, answer, cut, got[0], got[1])
	}
}

// told is all that a caller can see of an answer.
func told(rt http.RoundTripper, r *http.Request) string {
	res, err := rt.RoundTrip(r)
	if err != nil {
		return "no answer"
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	kind := "whole"
	if err == io.ErrUnexpectedEOF {
		kind = "cut"
	} else if err != nil {
		kind = "broken"
	}
	return fmt.Sprintf("%s %q %d %v %v %t %q %q %s", res.Proto, res.Status, res.ContentLength, res.Header, res.TransferEncoding, res.Close, b, res.Trailer, kind)
}

var answers = []string{
	okay,
	"",
	"\r\n\r\n",
	"H",
	"HTTP/1.1 200 OK",
	"HTTP/1.1 200 OK\r\n\r\nto the end",
	"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"HTTP/1.0 200 OK\r\n\r\nold",
	"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/9.9 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"ICY 200 OK\r\n\r\n",
	"HTTP/1.1 20 OK\r\n\r\n",
	"HTTP/1.1 2000 OK\r\n\r\n",
	"HTTP/1.1 -20 OK\r\n\r\n",
	"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\n" + okay,
	"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + okay,
	"HTTP/1.1 100 Continue\r\n\r\n",
	"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\n" + okay,
	"HTTP/1.1 204 No Content\r\n\r\nrest",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
	"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://b/x\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 402 Payment Required\r\nContent-Length: 3\r\nRetry-After: 4\r\n\r\ndry",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A, B\r\n\r\n2\r\nok\r\n3;x=y\r\nall\r\n0\r\nA: b\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokk\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nok",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + okay,
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
	"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nA\r\n\r\n",
	"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
	"HTTP/1.1 200 OK\r\nA: \x00\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok more",
	"HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nPragma: no-cache\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
	okay + okay,
	okay + "garbage",
	"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 70<<10) + "\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20<<10) + "Content-Length: 2\r\n\r\nok",
	"<html>an error page of a proxy that speaks no HTTP</html>",
}

// Wherever its bytes are cut, an answer is what net/http makes of it.
func TestAnswersAreThoseOfNetHTTP(t *testing.T) {
	for _, a := range answers {
		for _, method := range []string{http.MethodPost, http.MethodHead} {
			step := 1 + len(a)/12
			for cut := 0; cut <= len(a); cut += step {
				differ(t, method, a, cut)
			}
		}
	}
}

// A switch of protocols that nobody asked for is no answer. net/http hands the
// connection over instead.
func TestASwitchOfProtocolsIsNoAnswer(t *testing.T) {
	w := &network{pipes: true}
	w.serve = w.answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
	if _, err := ask(w.transport(t), post(t.Context(), "")); err != errSwitched {
		t.Errorf("the error is %v", err)
	}
}

func TestEndlessHeadsEnd(t *testing.T) {
	for name, line := range map[string]string{"one head": "A: b\r\n", "one line": "b", "interim answers": "HTTP/1.1 102 Processing\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			w := &network{pipes: true, serve: func(_ int, p *peer) {
				_, _, _ = p.request()
				if line[0] != 'H' {
					p.say("HTTP/1.1 200 OK\r\nX: ")
				}
				for {
					if _, err := io.WriteString(p, strings.Repeat(line, 4096/len(line))); err != nil {
						return
					}
				}
			}}
			if _, err := ask(w.transport(t), post(t.Context(), "")); err != errLongHead {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	for i, a := range answers {
		if len(a) < 1000 {
			f.Add(a, i, i%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, answer string, cut int, head bool) {
		if len(answer) > 8<<10 || strings.Contains(answer, " 101") {
			t.Skip()
		}
		method := http.MethodPost
		if head {
			method = http.MethodHead
		}
		differ(t, method, answer, cut)
	})
}
