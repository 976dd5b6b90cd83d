package outbound

// isOpenPort reports whether https may go to a port without the operator's word: 443, and from 1024 on all that no
// well-known service of another protocol listens on. Receivers do run on 8443, 9000 or what a tunnel gave them; nobody
// runs one on the ports of mail, files or databases, and a TLS greeting sent there serves only to find out who answers.
func isOpenPort(port uint16) bool {
	return port == 443 || port >= 1024 && !servicePorts[port]
}

// servicePorts are the "bad ports" of the Fetch standard (https://fetch.spec.whatwg.org/#port-blocking) from 1024 on, and
// the stores and agents that are found by this the most.
var servicePorts = map[uint16]bool{
	1719: true, 1720: true, 1723: true, 2049: true, 3659: true, 4045: true, 4190: true, 5060: true, 5061: true,
	6000: true, 6566: true, 6665: true, 6666: true, 6667: true, 6668: true, 6669: true, 6679: true, 6697: true, 10080: true,

	1433: true, 1521: true, 3306: true, 5432: true, 6379: true, 6380: true, 9042: true, 11211: true, 27017: true, // databases
	2375: true, 2376: true, 2379: true, 2380: true, 10250: true, 10255: true, // Docker, etcd, kubelet
	3389: true, 5900: true, 5985: true, 5986: true, // remote desktops and shells
}
