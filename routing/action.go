package routing

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// An actionCheck makes an Action that can work of what is asked for.
type actionCheck struct {
	rule      *Rule
	clusters  func(ClusterName) *Cluster // returns one that is in force, or nil
	unbounded bool                       // the route is for any host
	problems  []*Problem
	closed    bool // the rule as a whole
}

func (k *actionCheck) report(o Origin, reason Reason, err error) {
	if o == (Origin{}) {
		o = k.rule.Origin
	}
	k.problems = append(k.problems, &Problem{Origin: o, Reason: reason, Err: err})
}

// close answers the rule with 500: half of an action may be worse than none,
// it may be the half that keeps somebody out.
func (k *actionCheck) close(err error) {
	if err != nil {
		k.closed = true
		k.report(k.rule.Origin, InvalidAction, err)
	}
}

// run returns what is done in place of the rule's action.
func (k *actionCheck) run() *Action {
	a := k.rule.Action
	k.close(checkDecision(&a))
	a.Request = k.headers(a.Request)
	a.Response = k.headers(a.Response)
	k.filters(a.Redirect, a.Rewrite, a.CORS)
	k.close(checkFault(a.Fault))
	k.close(checkRetry(a.Retry))
	k.close(checkSession(a.Session))
	k.close(k.auth(a.Auth))
	a.Mirrors = k.mirrors(a.Mirrors)
	a.Backends = slices.Clone(a.Backends)
	for i := range a.Backends {
		k.backend(&a.Backends[i])
	}
	if k.closed || a.Status == 0 && a.Redirect == nil && totalWeight(a.Backends) == 0 {
		return &Action{Status: http.StatusInternalServerError}
	}
	return &a
}

// CheckAction says what keeps the action of a rule from being in force, wherever
// its clusters are: what Compile would say of it. It is for dialects, whose
// authors are told where they look.
func CheckAction(r *Rule) error {
	k := actionCheck{rule: r, clusters: func(ClusterName) *Cluster { return &Cluster{} }}
	k.run()
	if len(k.problems) > 0 {
		return k.problems[0].Err
	}
	return nil
}

// checkDecision says whether at most one of status, redirect and backends is
// there. None at all is answered with 500: no backend is what the author said.
func checkDecision(a *Action) error {
	n := truth(a.Status != 0) + truth(a.Redirect != nil) + truth(len(a.Backends) > 0)
	if n > 1 {
		return fmt.Errorf("%d of status, redirect and backends: want one", n)
	}
	if a.Status != 0 && (a.Status < 200 || a.Status > 599) {
		return fmt.Errorf("status %d: want 200-599", a.Status)
	}
	if a.Status == 0 && a.Body != "" {
		return fmt.Errorf("a body without a status: want both")
	}
	if len(a.Body) > maxBody {
		return fmt.Errorf("a body of %d bytes: want at most %d", len(a.Body), maxBody)
	}
	return nil
}

// maxBody is the length of the longest body that the gateway answers with
// itself, in bytes: Istio's.
const maxBody = 1 << 20

// cluster says why nothing can be sent to a cluster.
func (k *actionCheck) cluster(name ClusterName) (Reason, error) {
	switch c := k.clusters(name); {
	case c == nil:
		return BackendNotFound, fmt.Errorf("no cluster %q", name)
	case c.Resolve == ResolveHost && k.unbounded:
		return UnboundedHost, fmt.Errorf(`cluster %q is whatever host a request names, and the route is for "*": want hosts that are bounded`, name)
	}
	return "", nil
}

func totalWeight(backends []Backend) (sum uint64) {
	for i := range backends {
		sum += uint64(backends[i].Weight)
	}
	return sum
}

// backend closes the share of b where there is nothing to send it to.
func (k *actionCheck) backend(b *Backend) {
	b.Request = k.headers(b.Request)
	b.Response = k.headers(b.Response)
	k.filters(b.Redirect, b.Rewrite, b.CORS)
	b.Mirrors = k.mirrors(b.Mirrors)
	switch {
	case b.Status != 0 && (b.Status < 200 || b.Status > 599):
		k.close(fmt.Errorf("status %d of a share: want 200-599", b.Status))
	case b.Status == 0 && b.Redirect == nil:
		if reason, err := k.cluster(b.Cluster); err != nil {
			b.Status, b.Reason = http.StatusInternalServerError, reason
			k.report(b.Origin, reason, err)
		}
	}
}

// mirrors leaves those out that cannot work: nobody waits for their answer.
func (k *actionCheck) mirrors(list []Mirror) []Mirror {
	return slices.DeleteFunc(slices.Clone(list), func(m Mirror) bool {
		if m.Denominator == 0 || m.Numerator > m.Denominator {
			k.report(m.Origin, InvalidAction, fmt.Errorf("mirror of %d/%d: want a share from 0 to 1", m.Numerator, m.Denominator))
			return true
		}
		reason, err := k.cluster(m.Cluster)
		if err != nil {
			k.report(m.Origin, reason, wrap("mirror", err))
		}
		return err != nil
	})
}

func (k *actionCheck) filters(redirect *Redirect, rewrite *Rewrite, cors *CORS) {
	if redirect != nil {
		k.close(k.redirect(redirect))
	}
	if rewrite != nil {
		if rewrite.Host != "" {
			k.close(wrap("rewrite", checkAuthority(rewrite.Host)))
		}
		k.close(wrap("rewrite", k.pathEdit(rewrite.Path)))
	}
	if cors != nil {
		k.close(wrap("cors", checkCORS(cors)))
	}
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

func (k *actionCheck) redirect(r *Redirect) error {
	switch r.Scheme {
	case "", "http", "https":
	default:
		return fmt.Errorf("redirect to scheme %q: want http or https", r.Scheme)
	}
	switch r.Status {
	case 301, 302, 303, 307, 308:
	default:
		return fmt.Errorf("redirect with status %d: want 301, 302, 303, 307 or 308", r.Status)
	}
	switch r.PortFrom {
	case RedirectPortByRule, RedirectPortAuthority, RedirectPortScheme, RedirectPortListener:
	default:
		return fmt.Errorf("redirect to the port of %q: want %q, %q or %q", r.PortFrom, RedirectPortAuthority, RedirectPortScheme, RedirectPortListener)
	}
	if r.Host != "" {
		if err := checkHost(r.Host); err != nil {
			return wrap("redirect", err)
		}
	}
	return wrap("redirect", k.pathEdit(r.Path))
}

// checkAuthority says whether text may stand in a Host field.
func checkAuthority(text string) error {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`/?#@\`, c) >= 0 {
			return fmt.Errorf("host %q: character %q", text, c)
		}
	}
	return nil
}

// retryConditions are all that RetryOn may be.
var retryConditions = []RetryOn{
	RetryOn5xx, RetryOnGatewayError, RetryOnReset, RetryOnResetBefore, RetryOnConnectFailure, RetryOnRefusedStream,
	RetryOnRetriable4xx, RetryOnCodes, RetryOnCancelled, RetryOnDeadlineExceeded, RetryOnInternal, RetryOnExhausted, RetryOnUnavailable,
}

func checkRetry(r *Retry) error {
	if r == nil {
		return nil
	}
	if r.Attempts < 0 || r.Backoff < 0 {
		return fmt.Errorf("retry %d times after %s: want no negative numbers", r.Attempts, r.Backoff)
	}
	for _, code := range r.Codes {
		if code < 100 || code > 599 {
			return fmt.Errorf("retry on status %d: want 100-599", code)
		}
	}
	for _, on := range r.On {
		if !slices.Contains(retryConditions, on) {
			return fmt.Errorf("retry on %q: want one of %q", on, retryConditions)
		}
	}
	return nil
}

// checkFault takes the statuses that Envoy aborts with.
func checkFault(f *Fault) error {
	switch {
	case f == nil:
		return nil
	case f.Delay < 0:
		return fmt.Errorf("fault: delay of %s: want no negative time", f.Delay)
	case f.DelayShare.Numerator > f.DelayShare.Denominator || f.AbortShare.Numerator > f.AbortShare.Denominator:
		return fmt.Errorf("fault: delay of %d/%d, abort of %d/%d: want shares from 0 to 1",
			f.DelayShare.Numerator, f.DelayShare.Denominator, f.AbortShare.Numerator, f.AbortShare.Denominator)
	case f.Status != 0 && f.GRPC != 0:
		return fmt.Errorf("fault: status %d and grpc-status %d: want one", f.Status, f.GRPC)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("fault: status %d: want 200-599", f.Status)
	case f.GRPC < 0: // one that is none is answered too, as Envoy does
		return fmt.Errorf("fault: grpc-status %d: want no negative number", f.GRPC)
	}
	return nil
}

func checkSession(s *Session) error {
	if s == nil {
		return nil
	}
	if !isToken(s.Name) {
		return fmt.Errorf("session name %q: want a token", s.Name)
	}
	if s.Absolute < 0 || s.Idle < 0 {
		return fmt.Errorf("session for %s, idle for %s: want no negative times", s.Absolute, s.Idle)
	}
	for i := range len(s.Path) {
		if c := s.Path[i]; c <= ' ' || c >= 0x7f || c == ';' {
			return fmt.Errorf("session path %q: character %q", s.Path, c)
		}
	}
	return nil
}

// auth says why a request cannot be asked about. Then none may pass.
func (k *actionCheck) auth(a *ExternalAuth) error {
	if a == nil {
		return nil
	}
	if _, err := k.cluster(a.Cluster); err != nil {
		return wrap("ask who may pass", err)
	}
	switch {
	case a.MaxBody < 0 || a.MaxBody > 1<<16:
		return fmt.Errorf("a body of %d bytes to ask with: want up to %d", a.MaxBody, 1<<16)
	case a.Path != "" && a.Path[0] != '/':
		return fmt.Errorf("path %q to ask at: want one that begins with /", a.Path)
	}
	for _, names := range [][]string{a.Request, a.Response} {
		for _, name := range names {
			if !isToken(name) {
				return fmt.Errorf("external auth: name %q: want a token", name)
			}
		}
	}
	return wrap("external auth", checkPathText(a.Path))
}

func checkCORS(c *CORS) error {
	for _, origin := range c.AllowOrigins {
		scheme, host, ok := strings.Cut(origin, "://")
		if origin == anyHost || ok && isToken(scheme) && host != "" && checkAuthority(host) == nil {
			continue
		}
		return fmt.Errorf(`origin %q: want "*" or SCHEME://HOST`, origin)
	}
	for _, names := range [][]string{c.AllowMethods, c.AllowHeaders, c.ExposeHeaders} {
		for _, name := range names {
			if !isToken(name) { // "*" is one
				return fmt.Errorf("name %q: want a token", name)
			}
		}
	}
	for _, m := range c.AllowOriginTexts {
		if m.Kind != TextPrefix && m.Kind != TextRegex {
			return fmt.Errorf("origin %s %q: want a prefix or a regular expression", m.Kind, m.Value)
		}
		if _, err := compileText(m.Kind, m.Value); err != nil {
			return fmt.Errorf("origin %q: %w", m.Value, err)
		}
	}
	if c.MaxAge < 0 {
		return fmt.Errorf("maximum age %s: want no negative time", c.MaxAge)
	}
	return nil
}
