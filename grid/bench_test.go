package grid_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	openai "github.com/sashabaranov/go-openai"

	"github.com/gridloop/gridloop/grid"
)

// plainServer answers each request with the same bytes and allocates next to nothing,
// so that what a benchmark counts is the client's.
func plainServer(b *testing.B, contentType, body string) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: " + contentType + "\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	done := make(chan struct{})
	var mu sync.Mutex
	var open net.Conn
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = conn
			mu.Unlock()
			r := bufio.NewReaderSize(conn, 64<<10)
			for {
				length := 0
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						_ = conn.Close()
						break
					}
					if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
						length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
					}
					if len(line) <= 2 {
						break
					}
				}
				if length == 0 {
					break
				}
				if _, err := io.CopyN(io.Discard, r, int64(length)); err != nil {
					break
				}
				if _, err := conn.Write(answer); err != nil {
					break
				}
			}
		}
	}()
	b.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		if open != nil {
			_ = open.Close()
		}
		mu.Unlock()
		<-done
	})
	return "http://" + l.Addr().String()
}

func streamOf(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word%d \"},\"logprobs\":null,\"finish_reason\":null}]}\n\n", i)
	}
	s.WriteString("data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":60,\"total_tokens\":61}}\n\ndata: [DONE]\n\n")
	return s.String()
}

func history(n int) (*grid.Transcript, []openai.ChatCompletionMessage) {
	t := grid.NewTranscript()
	var theirs []openai.ChatCompletionMessage
	for i := range n {
		m := grid.UserMessage(fmt.Sprintf("message %d: %s", i, strings.Repeat("some words ", 30)))
		_ = t.Append(m)
		theirs = append(theirs, m.OpenAI())
	}
	return t, theirs
}

func BenchmarkStep(b *testing.B) {
	for _, n := range []int{10, 50, 200} {
		for _, stream := range []bool{false, true} {
			kind, contentType, body := "json", "application/json", answerJSON
			if stream {
				kind, contentType, body = "stream", "text/event-stream", streamOf(60)
			}
			ours, theirs := history(n)
			b.Run(fmt.Sprintf("%s/%d/grid", kind, n), func(b *testing.B) {
				c, err := grid.New(grid.Config{APIKey: "k", BaseURL: plainServer(b, contentType, body) + "/v1"})
				if err != nil {
					b.Fatal(err)
				}
				defer c.Close()
				req := &grid.Request{Instrument: "agent-prime", Transcript: ours, Stream: stream, OnDelta: func(grid.Delta) {}}
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Chat(context.Background(), req); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/%d/go-openai", kind, n), func(b *testing.B) {
				cfg := openai.DefaultConfig("k")
				cfg.BaseURL = plainServer(b, contentType, body) + "/v1"
				c := openai.NewClientWithConfig(cfg)
				//lint:ignore SA1019 the market knows max_tokens, and both loops send the same
				req := openai.ChatCompletionRequest{Model: "agent-prime", Messages: theirs, MaxTokens: 4096}
				b.ReportAllocs()
				for b.Loop() {
					if !stream {
						if _, err := c.CreateChatCompletion(context.Background(), req); err != nil {
							b.Fatal(err)
						}
						continue
					}
					s, err := c.CreateChatCompletionStream(context.Background(), req)
					if err != nil {
						b.Fatal(err)
					}
					for err == nil {
						_, err = s.Recv()
					}
					_ = s.Close()
				}
			})
		}
	}
}
