// Package api is the native wire contract: what httpapi and ws share of it. It reads strict JSON into small tagged
// structs, writes the shapes clients see with append-style encoders that use no reflection, takes credentials and
// origins from requests, and embeds the two specifications. It holds no rule and calls no use case.
package api
