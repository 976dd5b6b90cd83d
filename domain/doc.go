// Package domain holds the rules of ChatAPI as values and pure functions: given values it returns new values or an
// *Error with a code of a closed set. It never waits, never reads a clock and imports nothing but the standard
// library; time and identifiers come in as arguments.
package domain
