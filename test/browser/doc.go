// Package browser opens the pages of /docs, and the one of examples/web-chat, in Chromium, against the real server, and uses
// them as a person does.
package browser
