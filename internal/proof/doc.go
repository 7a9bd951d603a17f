// Package proof holds the proofs that need heavy dependencies, such as the OpenTelemetry SDK. It is never imported and never tagged.
package proof
