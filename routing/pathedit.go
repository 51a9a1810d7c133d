package routing

import (
	"fmt"
	"regexp"
)

// pathEdit checks that there is one edit, and a prefix for a prefix edit.
func (k *actionCheck) pathEdit(e PathEdit) error {
	if n := truth(e.Full != nil) + truth(e.Prefix != nil) + truth(e.Matched != nil) + truth(e.Regex != nil); n > 1 {
		return fmt.Errorf("%d of a full path, a prefix, what is matched and an expression: want one", n)
	}
	switch {
	case e.Full != nil:
		return checkPathText(*e.Full)
	case e.Matched != nil:
		return checkPathText(*e.Matched)
	case e.Regex != nil:
		return e.Regex.check()
	case e.Prefix == nil:
		return nil
	}
	for i := range k.rule.Matches {
		if k.rule.Matches[i].Path.Kind != PathPrefix {
			return fmt.Errorf("a prefix to replace where match %d is not by prefix", i)
		}
	}
	return checkPathText(*e.Prefix)
}

// checkPathText says whether text may stand in a request line as a path.
func checkPathText(text string) error {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
			return fmt.Errorf("path %q: character %q", text, c)
		}
	}
	return nil
}

// check says what is wrong with an expression, or with what it is replaced by.
// What its groups have found was in a path already.
func (e *RegexEdit) check() error {
	if e.Pattern == "" {
		return fmt.Errorf("an empty regular expression to replace")
	}
	if err := checkProgram(e.Pattern); err != nil {
		return err
	}
	regex, err := regexp.Compile(e.Pattern)
	if err != nil {
		return err
	}
	return checkSubstitution(e.With, regex.NumSubexp())
}

// checkSubstitution takes what RE2 takes: "\0" for all that was found, "\1" to
// "\9" for what a group has, and "\\" for a backslash, which is none of a path.
func checkSubstitution(with string, groups int) error {
	var text []byte
	for i := 0; i < len(with); i++ {
		if with[i] != '\\' {
			text = append(text, with[i])
			continue
		}
		if i++; i == len(with) {
			return fmt.Errorf("substitution %q: a backslash at its end", with)
		}
		switch c := with[i]; {
		case c == '\\':
			text = append(text, c)
		case c < '0' || c > '9':
			return fmt.Errorf("substitution %q: %q behind a backslash, want a digit or a backslash", with, c)
		case int(c-'0') > groups:
			return fmt.Errorf("substitution %q: group %c of %d", with, c, groups)
		}
	}
	return wrap("substitution", checkPathText(string(text)))
}
