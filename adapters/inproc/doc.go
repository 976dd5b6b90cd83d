// Package inproc holds in the memory of one process what a cluster shares over the network: the bus, presence, the limiter
// and socket tickets. It is the whole of a single node, and nothing of it outlives the process.
package inproc
