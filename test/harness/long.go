package harness

import "os"

// LongEnv names a variable that, set to 1, has the faults last as long as they may in life.
const LongEnv = "CHATAPI_TEST_LONG"

// Lasting is how much of something there is: in every run, and when there is time.
func Lasting[T any](usual, long T) T {
	if os.Getenv(LongEnv) == "1" {
		return long
	}
	return usual
}
