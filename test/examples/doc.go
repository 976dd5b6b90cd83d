// Package examples runs what is in the folder examples, as its READMEs say, against the real server.
package examples
