// Package rest tests the REST interface end to end: the real handler and use cases over a real SQLite file. Every
// answer of every test is validated against api/openapi.yaml, undocumented fields and statuses included.
package rest
