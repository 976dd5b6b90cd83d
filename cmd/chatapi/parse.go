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
)

// The functions here read one kind of setting each. Their errors say what would be right; the caller names the setting.

type setter = func(*Config, string) error

func address(to func(*Config) *string) setter {
	return func(c *Config, text string) error {
		_, port, err := net.SplitHostPort(text)
		if err != nil {
			return fmt.Errorf("%q is not host:port or :port", text)
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q: the port is a number from 0 to 65535", text)
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

func setDSN(c *Config, text string) error {
	if scheme, _, ok := strings.Cut(text, "://"); ok && (scheme == "postgres" || scheme == "postgresql") {
		return errors.New("this build has no Postgres; use a SQLite file such as file:./data/chatapi.db")
	}
	c.DatabaseDSN = text
	return nil
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
	for _, origin := range list(text) {
		if origin != api.AnyOrigin && !domain.IsOrigin(origin) {
			return fmt.Errorf("%q is not an origin: scheme://host[:port] in lower case, nothing more", origin)
		}
		c.AllowedOrigins = append(c.AllowedOrigins, origin)
	}
	return nil
}

func setProxies(c *Config, text string) error {
	for _, entry := range list(text) {
		prefix, err := netip.ParsePrefix(entry)
		if addr, addrErr := netip.ParseAddr(entry); addrErr == nil {
			prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/8", entry)
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix)
	}
	return nil
}

func setOutboundAllow(c *Config, text string) error {
	for _, entry := range list(text) {
		purpose, target, _ := strings.Cut(entry, "=")
		if purpose != "llm" && purpose != "webhook" || target == "" {
			return fmt.Errorf("%q is not llm=host-or-cidr[:port] or webhook=host-or-cidr[:port]", entry)
		}
		c.OutboundAllow = append(c.OutboundAllow, entry)
	}
	return nil
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func setBotKeyEnvs(c *Config, text string) error {
	for _, entry := range list(text) {
		name, origin, _ := strings.Cut(entry, "=")
		if !variableName.MatchString(name) || !domain.IsOrigin(origin) {
			return fmt.Errorf("%q is not NAME=https://host", entry)
		}
		c.BotKeyEnvs = append(c.BotKeyEnvs, entry)
	}
	return nil
}

func integer(to func(*Config) *int, low, high int) setter {
	return func(c *Config, text string) error {
		n, err := strconv.Atoi(text)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is not a whole number from %d to %d", text, low, high)
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
			return fmt.Errorf("%q is not a duration from %s to %s, such as 30s or 2m", text, s.low, s.high)
		}
		*s.to(c) = d
		return nil
	}
}

func setLogLevel(c *Config, text string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, strings.ToLower(text)) {
		return fmt.Errorf("%q is not debug, info, warn or error", text)
	}
	return c.LogLevel.UnmarshalText([]byte(text))
}

func oneOf(to func(*Config) *string, words ...string) setter {
	return func(c *Config, text string) error {
		if !slices.Contains(words, text) {
			return fmt.Errorf("%q is not %s", text, strings.Join(words, " or "))
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
