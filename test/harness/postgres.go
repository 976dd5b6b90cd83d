package harness

import (
	"fmt"
	"time"
)

// Clone makes a database that begins as a copy of another, which nobody may be connected to.
func (p *PGServer) Clone(of string) (name string, err error) {
	p.template.Lock()
	defer p.template.Unlock()
	p.made++
	name = fmt.Sprintf("chat%d_%d", p.made, time.Now().UnixNano())
	return name, p.do("postgres", fmt.Sprintf("CREATE DATABASE %s OWNER chatapi TEMPLATE %s", name, of))
}
