// Package faults breaks the server and its disk while clients use it, and holds what they saw against the promises.
package faults

import (
	"testing"

	"github.com/chatapi/chatapi/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
