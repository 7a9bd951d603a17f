// Package h1 is an HTTP/1.1 transport for requests whose bodies are at hand.
//
// net/http gives each connection two goroutines, and each request is handed from the
// caller to one and from the other back to the caller: two wake-ups, which cost more
// than all else that a small request needs. Here the caller writes and reads itself:
//
//	RoundTrip -> an idle connection that still lives, else a new one
//	          -> head and body in one write
//	          -> http.ReadResponse, straight from the connection
//	Body      -> read to its end: the connection is idle again; else it is closed
//
// So a request that waits for its answer is one goroutine, the caller's, and a
// connection that waits for a request is none. What only a reader could notice, that
// a server closed an idle connection, is found by looking before it is used again.
//
// A request is written once. It goes to another connection only if no byte of it left
// for the first. Every other failure is an error; [UnsentError] tells those after
// which no byte had been written.
//
// Answers are parsed by net/http. Requests that are in any way out of the ordinary
// (a proxy, a body of unknown length, a header that must not be sent) go to Other.
package h1
