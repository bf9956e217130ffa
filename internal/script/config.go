package script

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-multihome/multihome/heartbeat"
	"github.com/go-multihome/multihome/internal/assoc"
	"github.com/go-multihome/multihome/internal/cc"
	"github.com/go-multihome/multihome/internal/rto"
)

// cmdConfig sets fields of the host's association configuration by name, nested ones with dots and in any case, after those of a profile, as in
// "config a rto.min=1s window=64KiB noprobetimeout=true". It must come before the host listens or dials.
func cmdConfig(c *call) error {
	h, err := c.host(0)
	if err != nil {
		return err
	}
	if h.EP != nil {
		return fmt.Errorf("the endpoint of %s is made already", h.Name)
	}
	h.Cfg.Fill()
	switch p := c.key("profile", ""); p {
	case "":
	case "rfc9260":
		rnd, check := h.Cfg.Random, h.Cfg.Check
		h.Cfg = RFC9260()
		h.Cfg.Random, h.Cfg.Check = rnd, check
	default:
		return fmt.Errorf("no profile %q", p)
	}
	h.NoListing = c.key("nolisting", "") == "true"
	for k, v := range c.Keys {
		if c.used[k] {
			continue
		}
		c.used[k] = true
		if err := setField(reflect.ValueOf(&h.Cfg).Elem(), strings.Split(k, "."), v); err != nil {
			return err
		}
	}
	return nil
}

// RFC9260 returns the profile of that name as the core knows it. Package transport checks that it is the public one.
func RFC9260() assoc.Config {
	return assoc.Config{
		RTO:       rto.Config{Initial: time.Second, Min: time.Second, Max: time.Minute},
		Heartbeat: heartbeat.RFC9260Config(), AssocMaxRetrans: 10, MaxInitRetrans: 8,
		SackDelay: 200 * time.Millisecond, CookieLife: time.Minute, InitialPackets: -1,
		Congestion: cc.KindReno, SlowStart: 1, MaxBurst: 4, NoPacing: true, NoDelayExit: true, PlainRecovery: true, CountMissing: true,
		NoPartial: true, NoReconfig: true, NoPad: true,
		NoProbeTimeout: true, MaxPayload: -1, PlainAfter: -1, Stagger: -1, InitPadding: -1,
	}
}

var durationType = reflect.TypeFor[time.Duration]()

func setField(v reflect.Value, names []string, val string) error {
	f := v.FieldByNameFunc(func(s string) bool { return strings.EqualFold(s, names[0]) })
	switch {
	case !f.IsValid():
		return fmt.Errorf("no setting %q", names[0])
	case len(names) > 1 && f.Kind() == reflect.Struct:
		return setField(f, names[1:], val)
	case f.Type() == durationType:
		d, err := time.ParseDuration(val)
		f.SetInt(int64(d))
		return err
	case f.CanInt():
		n, err := strconv.ParseInt(val, 0, 64)
		f.SetInt(n)
		return err
	case f.CanUint():
		n, err := strconv.ParseUint(val, 0, 64)
		f.SetUint(n)
		return err
	case f.Kind() == reflect.Bool:
		b, err := strconv.ParseBool(val)
		f.SetBool(b)
		return err
	}
	return fmt.Errorf("setting %q cannot be set by a word", strings.Join(names, "."))
}

// cmdChange sets parameters of a live association by name, as config does before: change a nofragments=true sackevery=1
func cmdChange(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	p := conn.A.Params()
	for k, v := range c.Keys {
		c.used[k] = true
		if err := setField(reflect.ValueOf(&p).Elem(), strings.Split(k, "."), v); err != nil {
			return err
		}
	}
	conn.A.SetParams(p)
	conn.Host.flush(conn)
	return nil
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[K ~uint16 | ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
