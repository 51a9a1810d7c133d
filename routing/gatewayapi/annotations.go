package gatewayapi

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairway.dev/routing"
)

const annotationPrefix = "fairway.dev/"

// settings are what the annotations of a Service and the policies on it ask
// for. The zero settings are the defaults.
type settings struct {
	traffic  traffic
	balance  routing.Balance
	limits   routing.Limits
	ejection routing.Ejection
	health   *routing.HealthCheck

	connectTimeout time.Duration
	idleTimeout    time.Duration
	slowStart      time.Duration

	proxyProtocol uint8
}

// annotations are the ones that a Service may have, without their prefix.
var annotations = map[string]func(s *settings, value string) error{
	"load-balancing": func(s *settings, v string) error {
		s.balance.Kind = routing.BalanceKind(v)
		switch s.balance.Kind {
		case routing.LeastRequest, routing.RoundRobin, routing.Random, routing.RingHash, routing.Maglev:
			return nil
		}
		return fmt.Errorf("%q: want least-request, round-robin, random, ring-hash or maglev", v)
	},
	"hash-on": func(s *settings, v string) error {
		s.balance.HashOn = v
		what, name, _ := strings.Cut(v, ":")
		switch {
		case v == "source-ip":
			return nil
		case what == "header" && isToken(name):
			s.balance.HashOn = "header:" + strings.ToLower(name)
			return nil
		case what == "cookie" && isToken(name), what == "query" && name != "":
			return nil
		}
		return fmt.Errorf("%q: want source-ip, header:NAME, cookie:NAME or query:NAME", v)
	},
	"max-connections":             func(s *settings, v string) error { return parseLimit(&s.limits.Connections, v) },
	"max-requests":                func(s *settings, v string) error { return parseLimit(&s.limits.Requests, v) },
	"max-pending":                 func(s *settings, v string) error { return parseLimit(&s.limits.Pending, v) },
	"max-requests-per-connection": func(s *settings, v string) error { return parseLimit(&s.limits.RequestsOnConn, v) },
	"slow-start":                  func(s *settings, v string) error { return parseWait(&s.slowStart, v) },
	"connect-timeout":             func(s *settings, v string) error { return parseWait(&s.connectTimeout, v) },
	"idle-timeout":                func(s *settings, v string) error { return parseWait(&s.idleTimeout, v) },
	"ejection":                    func(s *settings, v string) error { return parseEjection(&s.ejection, v) },
	"health-check":                func(s *settings, v string) error { return parseHealthCheck(&s.health, v) },
	"proxy-protocol": func(s *settings, v string) error {
		switch v {
		case "v1":
			s.proxyProtocol = 1
		case "v2":
			s.proxyProtocol = 2
		default:
			return fmt.Errorf("%q: want v1 or v2", v)
		}
		return nil
	},
}

// settings returns those of a Service, the defaults where there is none.
func (r *reading) settings(ns, name string) settings {
	s, _ := r.Value(cellID{Kind: serviceCell, NS: ns, Name: name}).(settings)
	return s
}

// service reads the annotations of a Service, and checks what it says beside
// them. What is bad is left out, with a Problem; the Service is served with
// the rest.
func (t *Translator) service(r *reading) outcome {
	svc := object[corev1.Service](r, "Service", r.ID.NS, r.ID.Name)
	if svc == nil {
		return outcome{Gone: true}
	}
	s := settings{traffic: r.trafficTo()}
	report := newReport("Service", svc)
	for key, value := range svc.Annotations {
		name, ours := strings.CutPrefix(key, annotationPrefix)
		if !ours {
			continue
		}
		err := fmt.Errorf("no such annotation")
		if parse := annotations[name]; parse != nil {
			next := s
			if err = parse(&next, value); err == nil {
				s = next
			}
		}
		if err != nil {
			report.Problem("metadata.annotations["+key+"]", reasonInvalidAnnotation, err.Error())
		}
	}
	if b := &s.balance; b.HashOn != "" && b.Kind != routing.RingHash && b.Kind != routing.Maglev {
		report.Problem("metadata.annotations["+annotationPrefix+"hash-on]", reasonInvalidAnnotation,
			"without load-balancing ring-hash or maglev nothing is hashed")
		b.HashOn = ""
	}
	if _, err := distributionOf(svc); err != nil {
		report.Problem("spec.trafficDistribution", reasonUnsupportedValue, err.Error())
	}
	r.reportBinding(svc, report)
	if len(report.Problems) == 0 && report.Conditions == nil && !saysBinding(svc) {
		report = nil // there is nothing to say, nor to take back
	} else {
		slices.SortFunc(report.Problems, func(a, b *routing.Problem) int {
			return cmp.Compare(a.Origin.Field, b.Origin.Field)
		})
	}
	return outcome{Value: s, Report: report}
}

func parseLimit(to *int, v string) error {
	if v == "none" {
		*to = -1
		return nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return fmt.Errorf("%q: want a number from 1, or none", v)
	}
	*to = n
	return nil
}

func parseWait(to *time.Duration, v string) error {
	d, err := parseDuration(gatewayv1.Duration(v))
	if err != nil {
		return err
	}
	if d == 0 {
		return fmt.Errorf("%q: want more than 0", v)
	}
	*to = d
	return nil
}

// parseEjection reads "off", or some of "consecutive=5,base=1s,max=50%".
func parseEjection(to *routing.Ejection, v string) error {
	if v == "off" {
		*to = routing.Ejection{Off: true}
		return nil
	}
	var e routing.Ejection
	for part := range strings.SplitSeq(v, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "consecutive":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return fmt.Errorf("consecutive %q: want a number from 1", value)
			}
			e.Consecutive = n
		case "base":
			if err := parseWait(&e.Base, value); err != nil {
				return fmt.Errorf("base %w", err)
			}
		case "max":
			n, err := strconv.Atoi(strings.TrimSuffix(value, "%"))
			if err != nil || n < 1 || n > 100 {
				return fmt.Errorf("max %q: want 1%% to 100%%", value)
			}
			e.MaxPercent = n
		default:
			return fmt.Errorf("%q: want off, or some of consecutive=5,base=1s,max=50%%", part)
		}
	}
	*to = e
	return nil
}
