package harness

import "os"

// LongEnv names a variable that, set to 1, has the faults last as long as they do in production.
const LongEnv = "CHATAPI_TEST_LONG"

// Lasting is usual in ordinary runs, and long when LongEnv is set.
func Lasting[T any](usual, long T) T {
	if os.Getenv(LongEnv) == "1" {
		return long
	}
	return usual
}
