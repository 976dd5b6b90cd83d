// Package outbound makes every HTTP call of the server to the outside: webhooks to tenants' backends and requests to
// language models. Tenants choose where these go, so nothing about a destination is trusted.
//
// A call passes three walls. The URL is read strictly (target.go). The host's addresses are looked up once and all of
// them judged before the first is tried (dial.go). The socket's own peer address is judged again in the moment before it
// connects (net.Dialer.ControlContext), so that no spelling, redirect or change of DNS lies between check and use. What
// is not a public unicast address is out of reach, unless the operator opened it for this kind of call (allow.go).
//
// Around that: one deadline for a whole attempt, bounded headers and bodies, no redirects, no proxy of the
// environment, no cookies, no decompression, TLS 1.2 or newer. It speaks HTTP/1.1 only: every receiver does, one
// connection then carries one call, and limits on a connection are limits on a call. Connections, circuit breaker and
// places belong to one endpoint of one tenant and are never shared.
//
// Client satisfies ports.Endpoints, ports.WebhookSender and ports.StreamOpener.
package outbound
