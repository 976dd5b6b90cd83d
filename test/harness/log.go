package harness

import (
	"os"
	"strings"
)

// Log is everything the server has written to stdout and stderr, over all its starts.
func (s *Server) Log() string {
	log, err := os.ReadFile(s.logPath)
	if err != nil {
		return ""
	}
	return string(log)
}

// LogTail is the last lines of Log.
func (s *Server) LogTail(lines int) string {
	all := strings.Split(strings.TrimRight(s.Log(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
