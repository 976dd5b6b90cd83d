package harness

import "testing"

func TestAPortIsGivenOnce(t *testing.T) {
	t.Parallel()
	port := Must(FreePort())(t)
	if again, err := claimPort(port); again || err != nil {
		t.Errorf("the port %d is given again: %t, %v", port, again, err)
	}
}
