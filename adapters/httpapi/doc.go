// Package httpapi is the native REST interface: it turns requests into calls of use cases and their results into the
// shapes of package api. It holds no rule about who may do what.
//
// A request passes, in this order: request id and fixed headers, CORS, the route table, how often its address has shown
// wrong credentials, credentials, the tenant's rate, media type and size of the body, strict decoding, the use case. Each
// of these can answer, always with the native error body.
package httpapi
