// Package imports gives the specifications, as the server serves them, to the programs that users import them into.
package imports
