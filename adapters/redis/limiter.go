package redis

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/chatapi/chatapi/domain"
)

// Limiter keeps token buckets that all nodes share. The common bucket is in Redis, on Redis's time; a node takes calls
// from it in slices, ahead of need, so that a call seldom waits. It waits, for one round trip, where this node knows
// nothing of a bucket yet, or where the slice has been used up sooner than the next could come.
//
// Beside that a node counts its own calls exactly. A call is let through when both have it, so that
//   - what one node lets through alone is exactly the definition of a token bucket,
//   - what all let through is at most the unused slices more, which together are a tenth of the burst. A burst of less
//     than ten calls a node has no slices: each call asks.
//
// When Redis has not answered within the wait, nobody waits again until it answers: a call then costs as many as there
// are nodes, so that each gives its share. When Redis has forgotten a bucket it is told of what the nodes remember.
// It satisfies ports.Limiter.
type Limiter struct {
	conn   *Conn
	seed   maphash.Seed
	start  time.Time
	wait   time.Duration
	shards [shardCount]shard

	lostAt atomic.Int64 // Redis is away until so many beats were answered promptly

	mu   sync.Mutex // guards asks
	asks []*ask     // to be sent
	wake chan struct{}

	counters limiterCounters
}

// LimiterStats are counters since the start.
type LimiterStats struct {
	Asked  int64 // slices asked for
	Waited int64 // calls that waited for Redis
	Alone  int64 // calls answered by this node's share, as Redis was away
}

type limiterCounters struct{ asked, waited, alone atomic.Int64 }

const (
	shardCount = 64          // a power of two
	sweepEvery = time.Minute // of a shard that is in use
	sweepAbove = 64          // buckets of a shard, which are kept without looking
	askBatch   = 256
	minRetry   = time.Millisecond // told where this node knows no better
)

// shard is a part of the buckets under a lock of its own.
type shard struct {
	mu      sync.Mutex
	buckets map[string]*entry
	sweepAt int           // at so many buckets it is swept
	swept   time.Duration // when it was
	_       [32]byte      // fills a cache line: calls of two tenants meet only in their shard
}

// entry is what a node knows of a bucket.
type entry struct {
	own    domain.Bucket // by the calls of this node alone
	common domain.Bucket // as Redis last said, at best: it has been asked at least as long ago as it answered
	latest time.Duration // when it has a call at the latest, by that: Redis may have looked right before it answered
	slice  int           // calls taken from the common bucket that are not used yet
	alone  int           // 1: calls were let through alone since Redis last answered

	flight  *ask  // under way
	asked   int64 // asks so far
	waiting int   // calls that wait
}

// ask takes a slice from a common bucket.
type ask struct {
	shard *shard
	entry *entry
	name  string
	rate  domain.Rate
	want  int
	own   int64 // what the bucket lacks at least, by all that is known here; in the script's unit
	alone int   // 1: it has taken calls alone, of which Redis does not know
	sent  time.Duration

	done chan struct{} // closed when what follows is set
	number,
	granted int64
	failed bool
}

// NewLimiter returns the limiter of a node; it works until conn is closed.
func NewLimiter(conn *Conn) *Limiter {
	l := &Limiter{conn: conn, seed: maphash.MakeSeed(), start: time.Now(), wait: askWait, wake: make(chan struct{}, 1)}
	l.lostAt.Store(1) // until Redis has answered once
	for i := range l.shards {
		l.shards[i].buckets, l.shards[i].sweepAt = map[string]*entry{}, sweepAbove
	}
	conn.run(l.send)
	return l
}

// Take implements ports.Limiter. A burst below 1 counts as 1.
func (l *Limiter) Take(ctx context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = rate.WithinBounds(time.Microsecond) // the script's unit
	s, now, since := l.open(name)
	defer s.mu.Unlock()
	e := s.buckets[name]
	if e == nil {
		e = s.add(name, newEntry(rate, since))
	}
	e.settle(since, rate)
	if e.slice == 0 && e.own.Has(e.own.Call()) && e.common.Has(e.common.Call()) && !l.isAlone() {
		now = l.await(ctx, s, e, name, rate)
	}
	if e.slice == 0 && l.isAlone() {
		return l.takeAlone(e, now)
	}
	ok := e.take()
	l.refill(s, e, name)
	return e.answer(ok, now)
}

// Peek implements ports.Limiter. It asks nobody and makes no bucket: of one that this node has not taken from, it says
// that it is full.
func (l *Limiter) Peek(_ context.Context, name string, rate domain.Rate) domain.Allowance {
	if rate.IsUnlimited() {
		return domain.Allowance{OK: true}
	}
	rate = rate.WithinBounds(time.Microsecond) // the script's unit
	s, now, since := l.open(name)
	defer s.mu.Unlock()
	e := *newEntry(rate, since)
	if kept := s.buckets[name]; kept != nil {
		e = *kept
	}
	e.settle(since, rate)
	if e.slice == 0 && l.isAlone() {
		price := e.priceAlone(l.conn.Nodes())
		return e.own.Answer(e.own.Has(price), price, now)
	}
	return e.answer(e.hasCall(), now)
}

// Stats reads the counters.
func (l *Limiter) Stats() LimiterStats {
	c := &l.counters
	return LimiterStats{Asked: c.asked.Load(), Waited: c.waited.Load(), Alone: c.alone.Load()}
}

// open locks the shard of a bucket, which the caller unlocks, and sweeps it when that is due.
func (l *Limiter) open(name string) (s *shard, now time.Time, since time.Duration) {
	s = &l.shards[maphash.String(l.seed, name)%shardCount]
	s.mu.Lock()
	if now, since = l.now(); since-s.swept >= sweepEvery {
		s.sweep(since)
	}
	return s, now, since
}

// now is the time of day and the limiter's own, by one reading.
func (l *Limiter) now() (now time.Time, since time.Duration) {
	now = time.Now().UTC()
	return now, now.Sub(l.start)
}

// isAlone reports whether Redis was found away, and has not answered promptly since.
func (l *Limiter) isAlone() bool { return l.conn.prompt.Load() < l.lostAt.Load() }

func (l *Limiter) goAlone() { l.lostAt.Store(l.conn.prompt.Load() + 1) }

// await has the common bucket asked until a call is there or is known not to be, and returns the time then. A call is
// answered by the first ask that was sent after it came; when that has brought less than it asked for, there is no more.
// The caller holds the shard's lock, which is free meanwhile.
func (l *Limiter) await(ctx context.Context, s *shard, e *entry, name string, rate domain.Rate) (now time.Time) {
	l.counters.waited.Add(1)
	timer := time.NewTimer(l.wait)
	defer timer.Stop()
	came := e.asked
	e.waiting++
	defer func() { e.waiting-- }()
	for {
		f := e.flight
		if f == nil {
			f = l.ask(s, e, name, e.waiting+l.spare(rate))
		}
		s.mu.Unlock()
		late, gone := false, false
		select {
		case <-f.done:
		case <-ctx.Done():
			gone = true
		case <-timer.C:
			late = true
		}
		s.mu.Lock()
		now, since := l.now()
		e.settle(since, rate)
		switch {
		case late || !gone && f.failed:
			l.goAlone()
			return now
		case gone, e.slice > 0, !e.own.Has(e.own.Call()), !e.common.Has(e.common.Call()):
			return now
		case f.number > came && f.granted < int64(f.want):
			return now
		}
	}
}

// refill asks for the next slice when half of one is used.
func (l *Limiter) refill(s *shard, e *entry, name string) {
	if e.flight != nil || !e.common.Has(e.common.Call()) || l.isAlone() {
		return
	}
	if spare := l.spare(e.own.Rate); e.slice <= spare/2 && spare > 0 {
		l.ask(s, e, name, spare-e.slice)
	}
}

// spare is how many calls a node may have in hand. With those of all nodes, and of one that has just come, it is a tenth
// of the burst.
func (l *Limiter) spare(rate domain.Rate) int { return rate.Burst / (10 * (l.conn.Nodes() + 1)) }

// ask has a slice asked for. The caller holds the shard's lock.
func (l *Limiter) ask(s *shard, e *entry, name string, want int) *ask {
	e.asked++
	f := &ask{
		shard: s, entry: e, name: name, rate: e.own.Rate, want: want, own: min(max(e.own.Lacks, e.common.Lacks), e.own.Size()) / 1000,
		alone: e.alone, sent: e.own.At, number: e.asked, done: make(chan struct{}),
	}
	e.flight = f
	l.counters.asked.Add(1)
	l.mu.Lock()
	l.asks = append(l.asks, f)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return f
}

// takeAlone answers by this node's share.
func (l *Limiter) takeAlone(e *entry, now time.Time) domain.Allowance {
	l.counters.alone.Add(1)
	price := e.priceAlone(l.conn.Nodes())
	ok := e.own.Take(price)
	if ok {
		e.alone = 1
	}
	return e.own.Answer(ok, price, now)
}

// priceAlone is what a call costs while nodes cannot ask each other. What the others had taken before is not there.
func (e *entry) priceAlone(nodes int) (price int64) {
	e.own.Lacks = max(e.own.Lacks, e.common.Lacks)
	return int64(nodes) * e.own.Call()
}

func newEntry(rate domain.Rate, since time.Duration) *entry {
	return &entry{own: domain.Bucket{Rate: rate, At: since}, common: domain.Bucket{Rate: rate, At: since}}
}

// settle brings what is known up to now and to a rate. Calls in hand keep their share of the burst.
func (e *entry) settle(since time.Duration, rate domain.Rate) {
	if e.slice > 0 && e.own.Rate.Burst != rate.Burst {
		e.slice = e.slice * rate.Burst / e.own.Rate.Burst
	}
	if e.common.Rate != rate {
		e.latest = 0 // was by the other rate
	}
	e.own.Settle(since, rate)
	e.common.Settle(since, rate)
}

func (e *entry) hasCall() bool {
	return e.own.Has(e.own.Call()) && (e.slice > 0 || e.common.Has(e.common.Call()))
}

// take takes a call in hand.
func (e *entry) take() (ok bool) {
	if ok = e.slice > 0 && e.own.Take(e.own.Call()); ok {
		e.slice--
	}
	return ok
}

// answer is what the bucket says after a call that it allowed or not. The common bucket has given what is in hand here.
// Who waits as told is let through, however late Redis looked.
func (e *entry) answer(ok bool, now time.Time) domain.Allowance {
	common := e.common
	common.Lacks = max(0, common.Lacks-int64(e.slice)*common.Call())
	a := domain.Allowance{
		OK:        ok,
		Limit:     e.own.Rate.PerSecond,
		Remaining: min(e.own.Left(e.own.Call()), common.Left(common.Call())),
		Reset:     now.Add(max(e.own.Refill(), common.Refill())),
	}
	if !ok {
		a.RetryAfter = max(e.own.Wait(e.own.Call()), common.Wait(common.Call()), e.latest-e.own.At, minRetry)
		a.Remaining = 0
	}
	return a
}

// isFull reports whether nothing is to be remembered.
func (e *entry) isFull(now time.Duration) bool {
	return e.flight == nil && e.waiting == 0 && e.own.IsFull(now) && e.common.IsFull(now)
}

// add keeps a copy of the name, which may be a part of something large.
func (s *shard) add(name string, e *entry) *entry {
	if len(s.buckets) >= s.sweepAt {
		s.sweep(e.own.At)
	}
	s.buckets[strings.Clone(name)] = e
	return e
}

// sweep forgets buckets that are full. The next is due at twice as many as are left. What is left moves to a map of its
// own, as maps do not shrink.
func (s *shard) sweep(now time.Duration) {
	kept := map[string]*entry{}
	for name, e := range s.buckets {
		if !e.isFull(now) {
			kept[name] = e
		}
	}
	s.buckets, s.sweepAt, s.swept = kept, max(sweepAbove, 2*len(kept)), now
}

// sliceScript takes up to ARGV[3] calls from a bucket. A call costs as much as its rate's period has microseconds, and a
// bucket gets back its rate every microsecond: whole numbers all through. ARGV[4] is what the bucket lacks by what the node knows that
// asks: it counts when Redis has forgotten the bucket, and with ARGV[5] = 1 when the node has let calls through alone.
// A clock that goes back gives nothing and takes nothing.
var sliceScript = goredis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local rate, burst, want, call = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[7])
local size = burst * call
local lacks, own = 0, tonumber(ARGV[4])
local b = redis.call('HMGET', KEYS[1], 'lacks', 'at', 'rate', 'size')
if b[1] then
  lacks = math.max(0, b[1] - math.max(0, now - b[2]) * b[3])
  if tonumber(b[4]) ~= size then
    lacks = math.floor(lacks / b[4] * size)
  end
end
if not b[1] or ARGV[5] == '1' then
  lacks = math.max(lacks, own)
end
lacks = math.min(size, lacks)
local granted = math.min(want, math.floor((size - lacks) / call))
lacks = lacks + granted * call
redis.call('HSET', KEYS[1], 'lacks', string.format('%.0f', lacks), 'at', string.format('%.0f', now), 'rate', rate, 'size', string.format('%.0f', size))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(lacks / rate / 1000) + ARGV[6]))
return {granted, lacks}`)

// send carries asks to Redis, as many at once as have come meanwhile.
func (l *Limiter) send(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			l.fail(l.takeAsks(0))
			return
		case <-l.wake:
		}
		for asks := l.takeAsks(askBatch); len(asks) > 0; asks = l.takeAsks(askBatch) {
			if l.isAlone() {
				l.fail(asks)
				continue
			}
			l.sendAll(ctx, asks)
		}
	}
}

// takeAsks takes up to n of those waiting; 0 is all.
func (l *Limiter) takeAsks(n int) (asks []*ask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n == 0 || n >= len(l.asks) {
		asks, l.asks = l.asks, nil
		return asks
	}
	asks, l.asks = l.asks[:n:n], l.asks[n:]
	return asks
}

func (l *Limiter) sendAll(ctx context.Context, asks []*ask) {
	calls := make([]call, len(asks))
	for i, f := range asks {
		calls[i] = call{
			[]string{l.conn.key("limit:" + f.name)},
			[]any{f.rate.PerSecond, f.rate.Burst, f.want, f.own, f.alone, keySpare.Milliseconds(), f.rate.Period().Microseconds()},
		}
	}
	cmds := l.conn.evalAll(ctx, sliceScript, calls)
	_, since := l.now()
	for i, cmd := range cmds {
		answer, err := cmd.Int64Slice()
		if err != nil || len(answer) != 2 {
			l.fail(asks[i : i+1])
			continue
		}
		asks[i].succeed(since, answer[0], answer[1])
	}
}

// succeed brings home the slice that came at since. What the bucket lacked when Redis looked it lacks at most since the ask was made.
func (f *ask) succeed(since time.Duration, granted, lacks int64) {
	f.shard.mu.Lock()
	defer f.shard.mu.Unlock()
	e, rate := f.entry, f.entry.own.Rate
	f.granted = granted
	if rate.Burst != f.rate.Burst { // it has changed meanwhile
		granted = granted * int64(rate.Burst) / int64(f.rate.Burst)
	}
	e.slice += int(granted)
	e.common = domain.Bucket{Rate: f.rate, Lacks: lacks * 1000, At: f.sent}
	worst := domain.Bucket{Rate: f.rate, Lacks: e.common.Lacks, At: since}
	worst.Settle(since, rate)
	e.latest = since + worst.Wait(worst.Call())
	e.common.Settle(max(f.sent, e.own.At), rate)
	e.flight = nil
	if f.alone == 1 {
		e.alone = 0
	}
	close(f.done)
}

func (l *Limiter) fail(asks []*ask) {
	for _, f := range asks {
		l.goAlone()
		f.shard.mu.Lock()
		f.failed, f.entry.flight = true, nil
		close(f.done)
		f.shard.mu.Unlock()
	}
}
