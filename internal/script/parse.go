// Package script runs transcripts: text files of commands to a little world of SCTP endpoints on a simulated network and a
// virtual clock, each block of commands followed by what it prints. A change of behaviour shows as a readable difference.
//
// The format is
//
//	# A comment.
//	command argument key=value
//	another command
//	----
//	what the commands printed
//
// with an empty line after each block. See World.Run for the commands. Run the tests of this package with -rewrite to
// write anew what the commands print.
package script

import (
	"fmt"
	"strings"
)

// divider stands between the commands of a block and what they print.
const divider = "----"

// File is a parsed transcript.
type File struct {
	Name   string
	Blocks []Block
	Tail   []string // comments after the last block
}

// Block is some commands and what they should print.
type Block struct {
	Lead []string // empty lines and comments above
	Cmds []Command
	Want string // with a line feed at the end of each line
	Line int    // of the first command
}

// Command is one line: a verb, arguments, and key=value settings.
type Command struct {
	Text string
	Verb string
	Args []string
	Keys map[string]string
	Line int
}

// Parse reads a transcript.
func Parse(name string, src string) (*File, error) {
	f := &File{Name: name}
	lines := strings.Split(src, "\n")
	var b Block
	for i := 0; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], " \t\r")
		switch {
		case line == divider && len(b.Cmds) == 0:
			return nil, fmt.Errorf("%s:%d: %s without a command above", name, i+1, divider)
		case line == divider:
			var want strings.Builder
			for i++; i < len(lines) && strings.TrimSpace(lines[i]) != ""; i++ {
				want.WriteString(strings.TrimRight(lines[i], " \t\r") + "\n")
			}
			b.Want = want.String()
			f.Blocks = append(f.Blocks, b)
			b = Block{}
		case (line == "" || line[0] == '#') && len(b.Cmds) == 0:
			b.Lead = append(b.Lead, line)
		case line == "":
			return nil, fmt.Errorf("%s:%d: a block without %s", name, b.Line, divider)
		case line[0] == '#':
			b.Cmds = append(b.Cmds, Command{Text: line, Verb: "#", Line: i + 1})
		default:
			c, err := ParseCommand(line)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
			}
			c.Line = i + 1
			if len(b.Cmds) == 0 {
				b.Line = i + 1
			}
			b.Cmds = append(b.Cmds, c)
		}
	}
	if len(b.Cmds) > 0 {
		return nil, fmt.Errorf("%s:%d: a block without %s", name, b.Line, divider)
	}
	f.Tail = b.Lead
	return f, nil
}

// ParseCommand reads one command line. An argument that holds spaces stands in double quotes.
func ParseCommand(line string) (Command, error) {
	c := Command{Text: line, Keys: map[string]string{}}
	words, err := fields(line)
	if err != nil {
		return c, err
	}
	for i, w := range words {
		key, val, isKey := strings.Cut(w, "=")
		switch {
		case i == 0:
			c.Verb = w
		case isKey && key != "":
			if _, twice := c.Keys[key]; twice {
				return c, fmt.Errorf("%q is given twice", key)
			}
			c.Keys[key] = val
		default:
			c.Args = append(c.Args, w)
		}
	}
	if c.Verb == "" {
		return c, fmt.Errorf("no command")
	}
	return c, nil
}

// fields splits at spaces outside double quotes and takes the quotes away.
func fields(line string) ([]string, error) {
	var words []string
	var w strings.Builder
	inWord, quoted := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
			inWord = true
		case (r == ' ' || r == '\t') && !quoted:
			if inWord {
				words = append(words, w.String())
			}
			w.Reset()
			inWord = false
		default:
			w.WriteRune(r)
			inWord = true
		}
	}
	if quoted {
		return nil, fmt.Errorf("a quote is not closed")
	}
	if inWord {
		words = append(words, w.String())
	}
	return words, nil
}

// Format writes the transcript with got[i] below block i.
func (f *File) Format(got []string) string {
	var s strings.Builder
	for i, b := range f.Blocks {
		for _, l := range b.Lead {
			s.WriteString(l + "\n")
		}
		for _, c := range b.Cmds {
			s.WriteString(c.Text + "\n")
		}
		s.WriteString(divider + "\n" + got[i])
		if i < len(f.Blocks)-1 || len(f.Tail) > 0 {
			s.WriteString("\n")
		}
	}
	s.WriteString(strings.Join(f.Tail, "\n"))
	return s.String()
}
