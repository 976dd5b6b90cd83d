// Package ports is what the core needs from outside, as small interfaces. Each comment is the contract of its
// interface; the suites beside it (storetest, bustest, …) are its proof, and every adapter passes them.
package ports
