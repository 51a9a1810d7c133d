package gatewayapi

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"fairway.dev/routing"
)

// parseHealthCheck reads "http=/healthz", "grpc", "grpc=SERVICE" or "tcp", and
// behind it some of "port=8081,interval=10s,timeout=1s,unhealthy=3,healthy=1",
// and for http "host=NAME,status=200-299".
func parseHealthCheck(to **routing.HealthCheck, v string) error {
	var h routing.HealthCheck
	for i, part := range strings.Split(v, ",") {
		key, value, given := strings.Cut(strings.TrimSpace(part), "=")
		err := error(nil)
		if i == 0 {
			err = parseQuestion(&h, key, value, given)
		} else {
			err = parseCheckSetting(&h, key, value)
		}
		if err != nil {
			return err
		}
	}
	*to = &h
	return nil
}

// parseQuestion reads what endpoints are asked.
func parseQuestion(h *routing.HealthCheck, kind, value string, given bool) error {
	switch {
	case kind == "http" && strings.HasPrefix(value, "/"):
		h.HTTP = &routing.HTTPCheck{Path: value}
	case kind == "grpc":
		h.GRPC = &value
	case kind == "tcp" && !given:
	default:
		return fmt.Errorf("%q: want http=/PATH, grpc, grpc=SERVICE or tcp in front", kind)
	}
	return nil
}

func parseCheckSetting(h *routing.HealthCheck, key, value string) (err error) {
	wait := func(to *time.Duration) error { return parseWait(to, value) }
	count := func(to *int, most int) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 || n > most {
			return fmt.Errorf("%q: want 1-%d", value, most)
		}
		*to = n
		return nil
	}
	port := 0
	switch {
	case key == "interval":
		err = wait(&h.Interval)
	case key == "timeout":
		err = wait(&h.Timeout)
	case key == "unhealthy":
		err = count(&h.Unhealthy, 100)
	case key == "healthy":
		err = count(&h.Healthy, 100)
	case key == "port":
		err = count(&port, 65535)
		h.Port = uint16(port)
	case key == "host" && h.HTTP != nil && value != "":
		h.HTTP.Host = value
	case key == "status" && h.HTTP != nil:
		err = parseStatuses(&h.HTTP.Statuses, value)
	default:
		return fmt.Errorf("%q: want port, interval, timeout, unhealthy or healthy, and with http host or status", key)
	}
	if err != nil {
		return fmt.Errorf("%s %w", key, err)
	}
	return nil
}

// parseStatuses reads "200" or "200-299".
func parseStatuses(to *[]routing.StatusRange, value string) error {
	first, last, ranged := strings.Cut(value, "-")
	if !ranged {
		last = first
	}
	a, err := strconv.Atoi(first)
	b, err2 := strconv.Atoi(last)
	if err != nil || err2 != nil || a < 100 || b > 599 || a > b {
		return fmt.Errorf("%q: want a status, or two with a dash between them", value)
	}
	*to = []routing.StatusRange{{First: a, Last: b}}
	return nil
}
