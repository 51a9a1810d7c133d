package routing

import "time"

// A JWTRule is how tokens of an issuer are proved (JWTRule of Istio's
// RequestAuthentication). A request without a token passes; one whose token
// does not hold is answered with 401.
type JWTRule struct {
	Origin    Origin
	Issuer    string
	Audiences []string // one of them; none: any
	// Keys is a JSON Web Key Set (RFC 7517 section 5). Where it is empty they
	// are fetched from URL, and by OpenID discovery from the issuer where that
	// is empty too. Without keys no token holds.
	Keys []byte
	URL  string
	// Where the token is: headers with what comes before it, query parameters,
	// cookies. None of all: "Authorization: Bearer " and "access_token".
	Headers []Header
	Params  []string
	Cookies []string
	Keep    bool // the backend sees the token
	// PayloadHeader and Claims are fields for the backend: the payload in
	// base64url, and the values of claims.
	PayloadHeader string
	Claims        []ClaimHeader
	Spaced        []string      // claims that are lists with spaces, besides scope and permission
	Timeout       time.Duration // of fetching keys; 0: 5 s
}

// A ClaimHeader is a field that has the value of a claim.
type ClaimHeader struct{ Header, Claim string }
