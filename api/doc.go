// Package api is the wire contract as far as the interfaces share it: httpapi, ws and chats. It reads strict JSON into small
// tagged structs, writes the shapes clients see with append-style encoders that use no reflection, takes credentials and
// origins from requests, says what a client is told of an error, and embeds the two specifications. It holds no rule and
// calls no use case.
package api
