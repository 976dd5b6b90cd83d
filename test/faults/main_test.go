// Package faults breaks the server and its disk while clients use it, and holds what they saw against the promises.
package faults

import (
	"os"
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) != "" {
		os.Exit(workerMain()) // this process is the one that a test pauses
	}
	harness.Main(m)
}
