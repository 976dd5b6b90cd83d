package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chatapi/chatapi/adapters/secrets"
	"github.com/chatapi/chatapi/api"
	"github.com/chatapi/chatapi/domain"
	"github.com/chatapi/chatapi/ports"

	"github.com/chatapi/chatapi/adapters/outbound"
	"github.com/chatapi/chatapi/adapters/redis"
)

// The functions here read one kind of setting each. Their errors say what would be right; the caller names the setting.
// They end in logs, so they quote with shown alone: a secret pasted into the wrong setting must not get there.

type setter = func(*Config, string) error

// couldBeSecret matches what a key, a token, a password in a URL or the like has and a well-meant value seldom.
var couldBeSecret = regexp.MustCompile(`@|[A-Za-z0-9+/=_-]{20}|(?i)(sk|key|pass|pwd|secret|token)`)

// shown quotes a refused value, unless it could hold a secret.
func shown(text string) string {
	const readable = 64
	if len(text) > readable || couldBeSecret.MatchString(text) {
		return "the value (not shown: it could hold a secret)"
	}
	return strconv.Quote(text)
}

func address(to func(*Config) *string) setter {
	return func(c *Config, text string) error {
		_, port, err := net.SplitHostPort(text)
		if err != nil {
			return fmt.Errorf("%s is not host:port or :port", shown(text))
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%s: the port is a number from 0 to 65535", shown(text))
		}
		*to(c) = text
		return nil
	}
}

func addressOrOff(to func(*Config) *string) setter {
	return func(c *Config, text string) error {
		if text == "off" {
			return nil
		}
		return address(to)(c, text)
	}
}

func secret(to func(*Config) *Secret) setter {
	return func(c *Config, text string) error {
		*to(c) = Secret{text}
		return nil
	}
}

func setSecretsKey(c *Config, text string) error {
	c.SecretsKey = Secret{text}
	if _, err := secrets.ParseKey(text); err != nil {
		return errors.New("it must be 64 hexadecimal digits, or base64 of 32 bytes")
	}
	return nil
}

func setWebhookSecret(c *Config, text string) error {
	c.WebhookSecret = Secret{text}
	return outbound.CheckSecret(ports.NewSecret(text))
}

var errPostgresDSN = errors.New("a Postgres store is named like postgres://user:password@host:5432/database")

// keywords are those of Postgres's other form, "host=… user=…", which would name a file, with the password in its name.
var keywords = regexp.MustCompile(`(?i)(^|\s)(host|hostaddr|port|user|password|dbname|service)\s*=`)

func setDSN(c *Config, text string) error {
	c.DatabaseDSN = text
	scheme, _, isURL := strings.Cut(text, "://")
	switch {
	case isURL && !c.onPostgres() && scheme != "file":
		return fmt.Errorf("%s:// is no store; say file:PATH, just PATH, or postgres://user@host:5432/database", shown(scheme))
	case !c.onPostgres() && keywords.MatchString(text):
		return errPostgresDSN
	case !c.onPostgres():
		return nil
	}
	c.DatabaseDSN = strings.ToLower(scheme) + text[len(scheme):] // the driver knows it in lower case only
	u, err := url.Parse(text)                                    // its error quotes the text, and so the password
	if err != nil || u.Host == "" && u.Query().Get("host") == "" || strings.Trim(u.Path, "/") == "" {
		return errPostgresDSN
	}
	return nil
}

func setRedis(c *Config, text string) error {
	c.RedisURL = text
	return redis.CheckURL(text)
}

func urlOf(to func(*Config) *string, schemes ...string) setter {
	return func(c *Config, text string) error {
		u, err := url.Parse(text)
		if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Scheme != "unix" {
			return fmt.Errorf("it must be a URL that begins with %s://", strings.Join(schemes, ":// or "))
		}
		*to(c) = text
		return nil
	}
}

func setOrigins(c *Config, text string) error {
	for i, origin := range list(text) {
		if origin != api.AnyOrigin && !domain.IsOrigin(origin) {
			return fmt.Errorf("entry %d, %s, is not an origin: scheme://host[:port] in lower case, nothing more", i+1, shown(origin))
		}
		c.AllowedOrigins = append(c.AllowedOrigins, origin)
	}
	return nil
}

func setProxies(c *Config, text string) error {
	for i, entry := range list(text) {
		prefix, err := netip.ParsePrefix(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("entry %d, %s, is neither an address nor a network such as 10.0.0.0/8", i+1, shown(entry))
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix)
	}
	return nil
}

func setOutboundAllow(c *Config, text string) error {
	for i, entry := range list(text) {
		purpose, target, _ := strings.Cut(entry, "=")
		if purpose != "llm" && purpose != "webhook" || target == "" {
			return fmt.Errorf("entry %d, %s, is not llm=host-or-cidr[:port] or webhook=host-or-cidr[:port]", i+1, shown(entry))
		}
		c.OutboundAllow = append(c.OutboundAllow, entry)
	}
	_, err := outbound.ParseAllow(c.OutboundAllow)
	return err
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// upperName is a variable's name that is no key either, for errors.
var upperName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,63}$`)

// setBotKeyEnvs says no more than the name of an entry that is wrong: what follows may well be the key itself.
func setBotKeyEnvs(c *Config, text string) error {
	for i, entry := range list(text) {
		name, origin, paired := strings.Cut(entry, "=")
		if !variableName.MatchString(name) || !domain.IsOrigin(origin) {
			if paired && upperName.MatchString(name) {
				return fmt.Errorf("the entry of %s is not %s=https://host; the key itself belongs into the variable", name, name)
			}
			return fmt.Errorf("entry %d is not NAME=https://host", i+1)
		}
		c.BotKeyEnvs = append(c.BotKeyEnvs, entry)
	}
	return nil
}

func integer(to func(*Config) *int, low, high int) setter {
	return func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%s is not a whole number from %d to %d", shown(text), low, high)
		}
		*to(c) = n
		return nil
	}
}

// span is where a duration goes and what it may be.
type span struct {
	to        func(*Config) *time.Duration
	low, high time.Duration
}

var (
	retryInterval  = span{func(c *Config) *time.Duration { return &c.RetryInterval }, time.Second, 24 * time.Hour}
	workerInterval = span{func(c *Config) *time.Duration { return &c.WorkerInterval }, time.Second, time.Hour}
	drainTimeout   = span{func(c *Config) *time.Duration { return &c.ShutdownDrainTimeout }, time.Second, 10 * time.Minute}
)

func duration(s span) setter {
	return func(c *Config, text string) error {
		d, err := time.ParseDuration(text)
		if err != nil || d < s.low || d > s.high {
			return fmt.Errorf("%s is not a duration from %s to %s, such as 30s or 2m", shown(text), s.low, s.high)
		}
		*s.to(c) = d
		return nil
	}
}

func setLogLevel(c *Config, text string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(text)) {
		return fmt.Errorf("%s is not debug, info, warn or error", shown(text))
	}
	return c.LogLevel.UnmarshalText([]byte(text))
}

func oneOf(to func(*Config) *string, words ...string) setter {
	return func(c *Config, text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("%s is not %s", shown(text), strings.Join(words, " or "))
		}
		*to(c) = text
		return nil
	}
}

// list splits at commas and drops white space and empty entries.
func list(text string) []string {
	var entries []string
	for entry := range strings.SplitSeq(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" {
			entries = append(entries, entry)
		}
	}
	return entries
}
