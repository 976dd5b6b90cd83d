package sqlite

// syncDir has nothing to do: Windows does not sync directories.
func syncDir(string) error { return nil }

// ownLike has nothing to do: a file of a folder has the rights that the folder gives.
func ownLike(_, _ string) error { return nil }
