package config

import (
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// set reads text into a field that is not a list. dir is what paths are
// relative to.
func set(field reflect.Value, text, bounds, dir string) error {
	switch p := field.Addr().Interface().(type) {
	case *Path:
		if text == "" {
			return errors.New("is empty; name a file")
		}
		if !filepath.IsAbs(text) {
			text = filepath.Join(dir, text)
		}
		*p = Path(text)
		return nil
	case *slog.Level:
		return assign(p, text, parseLevel)
	case *time.Duration:
		return setDuration(p, text, bounds)
	case *netip.Addr:
		return assign(p, text, func(s string) (netip.Addr, error) { return parseAddr(s, bounds) })
	case *netip.Prefix:
		return assign(p, text, parsePrefix)
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(text))
	}
	return setBasic(field, text, bounds)
}

func assign[T any](p *T, text string, parse func(string) (T, error)) (err error) {
	*p, err = parse(text)
	return err
}

func parseLevel(text string) (slog.Level, error) {
	var level slog.Level
	if strings.Trim(text, "abcdefghijklmnopqrstuvwxyz") != "" || level.UnmarshalText([]byte(text)) != nil {
		return 0, fmt.Errorf("%q is no log level; write debug, info, warn or error", text)
	}
	return level, nil
}

func setBasic(field reflect.Value, text, bounds string) error {
	least, most, _ := strings.Cut(bounds, "..")
	switch field.Kind() {
	case reflect.String:
		field.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		field.SetBool(text == "true")
	case reflect.Int, reflect.Uint16, reflect.Uint64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < number(least) || n > number(most) {
			return fmt.Errorf("%q is not a number from %s to %s", text, least, most)
		}
		field.Set(reflect.ValueOf(n).Convert(field.Type()))
	default:
		panic("config: no way to read a " + field.Type().String())
	}
	return nil
}

// number reads a bound; a test sees to it that all are there.
func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func setDuration(p *time.Duration, text, bounds string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`%q is no time span; write a number with its unit, such as "200ms", "5s" or "2m"`, text)
	}
	bounds, mayBeNone := strings.CutPrefix(bounds, "0,")
	from, to, _ := strings.Cut(bounds, "..")
	least, err := time.ParseDuration(from)
	if err != nil {
		panic(err)
	}
	most, err := time.ParseDuration(to)
	if err != nil {
		panic(err)
	}
	switch {
	case d == 0 && mayBeNone:
	case mayBeNone && (d < least || d > most):
		return fmt.Errorf("%s is out of range; use 0, or a time span from %s to %s", d, least, most)
	case d < least || d > most:
		return fmt.Errorf("%s is out of range; use a time span from %s to %s", d, least, most)
	}
	*p = d
	return nil
}
