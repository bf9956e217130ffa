package script

import (
	"fmt"
	"reflect"
	"strings"
)

func cmdRecv(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	for _, sid := range sortedKeys(conn.in) {
		s := conn.in[sid]
		c.print("stream %d: %d bytes ordered, %d unordered messages, %d messages", sid, s.offset, len(s.unordered), s.messages)
	}
	if len(conn.in) == 0 {
		c.print("nothing")
	}
	return nil
}

func cmdState(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	c.print("%s: %v", conn.Name, conn.A.State())
	return nil
}

func cmdPaths(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	for _, p := range conn.A.Paths(nil) {
		mark := ""
		for _, m := range []struct {
			on   bool
			text string
		}{{p.Primary, " primary"}, {p.Current, " current"}, {p.Retired, " retired"}, {p.Suspected, " suspected"}} {
			if m.on {
				mark += m.text
			}
		}
		c.print("%d %s %v%s: errors %d, srtt %s, rto %s, cwnd %d, in flight %d", p.ID, conn.pair(p.Path), p.State, mark, p.Errors,
			stamp(p.SRTT), stamp(p.RTO), p.Window, p.InFlight)
	}
	return nil
}

func cmdStats(c *call) error {
	conn, err := c.conn(0)
	if err != nil {
		return err
	}
	c.print("%s", nonzero(conn.A.Stats()))
	return nil
}

func cmdCounts(c *call) error {
	for _, l := range c.w.Net.Links(c.arg(0)) {
		c.print("%s: %s", l.Name, nonzero(l.Count))
	}
	return nil
}

// nonzero prints the fields of a struct that are not zero, those of nested structs among them.
func nonzero(v any) string {
	var out []string
	var walk func(prefix string, r reflect.Value)
	walk = func(prefix string, r reflect.Value) {
		for i := range r.NumField() {
			f, t := r.Field(i), r.Type().Field(i)
			switch {
			case f.IsZero() || !t.IsExported():
			case f.Kind() == reflect.Struct && t.Anonymous:
				walk(prefix, f)
			case f.Kind() == reflect.Struct:
				walk(prefix+t.Name+".", f)
			default:
				out = append(out, fmt.Sprintf("%s%s=%v", prefix, t.Name, f.Interface()))
			}
		}
	}
	walk("", reflect.ValueOf(v))
	if len(out) == 0 {
		return "all zero"
	}
	return strings.Join(out, " ")
}

func cmdTrace(c *call) error {
	c.w.trace = c.arg(0) == "on"
	c.w.arwnd = c.key("arwnd", "") != ""
	c.w.only = nil
	if len(c.Args) > 1 {
		c.w.only = c.Args[1:]
	}
	return nil
}
