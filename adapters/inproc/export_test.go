package inproc

// SweepAbove is how many buckets a shard keeps without looking.
const SweepAbove = sweepAbove

// Buckets is how many buckets are kept.
func (l *Limiter) Buckets() int {
	n := 0
	for i := range l.shards {
		l.shards[i].mu.Lock()
		n += len(l.shards[i].buckets)
		l.shards[i].mu.Unlock()
	}
	return n
}

// MaxTickets is how many tickets wait at most.
const MaxTickets = maxTickets

// Kept is how many tickets, ends of tickets and tenants are kept.
func (t *Tickets) Kept() (waiting, ending, tenants int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting), len(t.ending), len(t.tenants)
}
