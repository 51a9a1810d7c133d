// Package jwt proves tokens: JSON Web Tokens (RFC 7519) with a signature (JWS,
// RFC 7515), as [routing.JWTRule] asks for them.
//
// The one law: a token counts only once it is proved. What cannot be read, has
// no key that fits, or is asked about while there are no keys does not hold.
//
// # What holds
//
// Of several rules one is enough. A rule looks for tokens in its own places
// only, and a request that has none there passes, as it has said nothing. A
// field, parameter or cookie that is there twice with a token does not hold:
// who comes after us may read the other one.
//
// A token is in compact form, of up to 16 KiB, signed by RS256, RS384, RS512,
// PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA; "none" and the symmetric
// algorithms are refused whatever keys there are. Its key is one of the rule's
// with the token's "kid", or without any; of a fitting kind, for signatures,
// and an RSA key has 2048 bits at least (RFC 7518 section 3.3). Keys that the
// token brings along (jwk, jku, x5c, x5u) are not looked at. "iss" is the
// rule's; "aud" has one of its audiences, in the comparison of which neither
// "https://" in front nor "/" at the end count, as in Envoy; "exp" is not over
// and "nbf" not ahead by more than 60 s, as clocks differ.
//
// # Keys
//
// Keys that the rule does not bring are fetched as soon as there is the rule:
// from its URL, or from the one that OpenID discovery has for the issuer
// (OpenID Connect Discovery 1.0 section 4). They are fetched anew after 5
// minutes, while the old ones are still good; where that fails they stay good
// for an hour in all. A token with an unknown "kid", or without one and signed by
// none of the keys, has them fetched too. It waits for that, but no source is
// asked more often than each 10 s, whatever strangers send. An answer has 1 MiB and 64 keys at most; what of it
// is no key for us is left out.
//
// A signature costs about as much as a whole exchange, so each loop remembers the
// tokens that it has seen proved, up to 256 of 4 KiB ([Cache]).
//
// The package does not know connections and loops: proxy waits for what has to
// be fetched. Signatures and keys are github.com/go-jose/go-jose's.
package jwt
