// Package browser opens the pages of /docs in Chromium, against the real server, and uses them as a person does.
package browser
