package domain

import "errors"

// CodeOf is the code of an error of the core, also of one that others have wrapped; empty for any other.
func CodeOf(err error) Code {
	if known, ok := errors.AsType[*Error](err); ok {
		return known.Code
	}
	return ""
}
