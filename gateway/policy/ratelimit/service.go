package ratelimit

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"fairway.dev/gateway/wire"
)

// ServicePath is the path of the gRPC method that a rate limit service answers.
const ServicePath = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

// Numbers of fields, by the names that the protocol's files have for them.
const (
	requestDomain      = 1
	requestDescriptors = 2

	descriptorEntries    = 1
	descriptorLimit      = 2
	entryKey, entryValue = 1, 2
	overrideRequests     = 1
	overrideUnit         = 2

	responseCode     = 1
	responseStatuses = 2

	statusCode         = 1
	statusCurrentLimit = 2
	statusRemaining    = 3
	statusReset        = 4
	limitRequests      = 1
	durationSeconds    = 1
	durationNanos      = 2

	codeOK        = 1
	codeOverLimit = 2
)

// ruleEntry is the key of a descriptor's first entry: the name of the rule. The
// others are what tells clients apart, as the rule has it ("header:X-User").
const ruleEntry = "rule"

// units are those in which a service can be told the limit (type.v3.RateLimitUnit).
var units = map[time.Duration]uint64{time.Second: 1, time.Minute: 2, time.Hour: 3, 24 * time.Hour: 4}

// Message is the RateLimitRequest: a descriptor for each rule that counts the
// request. A rule per second, minute, hour or day brings its limit along
// (RateLimitDescriptor.limit); the service knows those of others by itself.
func (q *Question) Message() []byte { return q.message }

func (q *Question) request(a *Attributes) []byte {
	b := wire.AppendText(nil, requestDomain, q.limiter.spec.Shared.Domain)
	for _, c := range q.counted {
		b = wire.AppendMessage(b, requestDescriptors, func(b []byte) []byte { return c.rule.descriptor(b, a) })
	}
	return b
}

func (r *rule) descriptor(b []byte, a *Attributes) []byte {
	entry := func(key, value string) {
		b = wire.AppendMessage(b, descriptorEntries, func(b []byte) []byte {
			return wire.AppendText(wire.AppendText(b, entryKey, key), entryValue, value)
		})
	}
	entry(ruleEntry, r.name)
	for i := range r.by {
		entry(r.by[i].by, r.by[i].text(a))
	}
	if unit, ok := units[r.spec.Per]; ok {
		b = wire.AppendMessage(b, descriptorLimit, func(b []byte) []byte {
			return wire.AppendNumber(wire.AppendNumber(b, overrideRequests, uint64(r.spec.Requests)), overrideUnit, unit)
		})
	}
	return b
}

// Answer reads a RateLimitResponse. What is none is Failed, and why.
func (q *Question) Answer(b []byte) (Decision, error) {
	var code uint64
	var statuses []status
	err := wire.EachField(b, func(number protowire.Number, n uint64, b []byte) (err error) {
		switch number {
		case responseCode:
			code = n
		case responseStatuses:
			var s status
			s, err = readStatus(b)
			statuses = append(statuses, s)
		}
		return err
	})
	switch {
	case err != nil:
	case code != codeOK && code != codeOverLimit:
		err = fmt.Errorf("code %d: want %d or %d", code, codeOK, codeOverLimit)
	case len(statuses) > len(q.counted):
		err = fmt.Errorf("%d statuses: want one of each of %d descriptors", len(statuses), len(q.counted))
	}
	if err != nil {
		return q.Failed(), err
	}
	return q.judge(code == codeOK, statuses), nil
}

// judge makes a Decision of what the service says of all, and of each rule.
func (q *Question) judge(ok bool, statuses []status) Decision {
	d := Decision{Allowed: ok, Policy: q.limiter.policy.Name}
	for i, s := range statuses {
		over := s.code == codeOverLimit
		if ok == over || s.limit == 0 || d.Per != 0 && s.remaining >= d.Remaining {
			continue // it is not what decides, or says nothing
		}
		r := q.counted[i].rule
		d.Rule, d.Limit, d.Per, d.Remaining, d.Reset = r.name, s.limit, r.spec.Per, s.remaining, s.reset
		if over {
			d.Retry = s.reset
		}
	}
	return d
}

// A status is a DescriptorStatus.
type status struct {
	code             uint64
	limit, remaining uint32
	reset            time.Duration
}

func readStatus(b []byte) (s status, err error) {
	err = wire.EachField(b, func(number protowire.Number, n uint64, b []byte) error {
		switch number {
		case statusCode:
			s.code = n
		case statusCurrentLimit:
			return wire.EachField(b, func(number protowire.Number, n uint64, _ []byte) error {
				if number == limitRequests {
					s.limit = uint32(n)
				}
				return nil
			})
		case statusRemaining:
			s.remaining = uint32(n)
		case statusReset:
			return wire.EachField(b, func(number protowire.Number, n uint64, _ []byte) error { return s.wait(number, n) })
		}
		return nil
	})
	return s, err
}

// wait reads a part of a google.protobuf.Duration.
func (s *status) wait(number protowire.Number, n uint64) error {
	const most = 1 << 32 // seconds
	switch {
	case number == durationSeconds && n > most, number == durationNanos && n >= uint64(time.Second):
		return errors.New("a time until the limit is reset that is none: want seconds, and less than one in nanoseconds")
	case number == durationSeconds:
		s.reset += time.Duration(n) * time.Second
	case number == durationNanos:
		s.reset += time.Duration(n)
	}
	return nil
}
