//go:build unix

package secrets

import (
	"errors"
	"io/fs"
	"os"
)

func isReadableToOthers(mode fs.FileMode) bool { return mode&0o077 != 0 }

// syncDir makes a new name in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
