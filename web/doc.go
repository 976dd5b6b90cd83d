// Package web is what the server gives to browsers: at /docs a page that reads /openapi.json and can call the API, and
// at /docs/socket one that opens a WebSocket and exchanges frames. Everything is in the binary and no page asks another
// host for anything, so both work with no internet.
package web
