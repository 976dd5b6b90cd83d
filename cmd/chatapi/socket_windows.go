package main

import "net"

// listenPrivate relies on the access control list of the data directory, which the socket inherits.
func listenPrivate(address string) (net.Listener, error) { return net.Listen("unix", address) }
