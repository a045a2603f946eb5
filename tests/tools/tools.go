//go:build tools

// The Go programs that the tests hold against the gateway. To add one: its import here, then `go get PACKAGE@VERSION` and `go mod tidy`.
// What go.mod picks builds with Go 1.19, which Debian 12 has.
package tools

import (
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "github.com/summerwind/h2spec/cmd/h2spec"
)
