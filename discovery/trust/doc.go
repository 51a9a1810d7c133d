// Package trust is where the mesh's trust is kept in Kubernetes: the CA in a
// Secret, the roots that are believed in a ConfigMap, and whose a service account
// token is.
//
// The CA is the user's, in the Secret "cacerts" of control's namespace with the
// keys that Istio's has: ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem
// and, to take certificates back, ca-crl.pem; or as cert-manager writes it, with
// tls.crt, tls.key and ca.crt. Where there is none it is that of
// the Secret "fairway-ca" of the same shape, which [Store] makes once; of several
// replicas that do so at once the first wins, and the others read what it wrote.
// A Secret that is there is never written: one that is damaged is reported, and
// read again until it is mended.
//
// # Istio's proxies
//
// Tokens of audience fairway are those of our own pods. With [IstioAudience] the
// CA signs for Istio's proxies as well: for a pod its own identity, and for node
// proxies (ztunnel) those of the pods of their node, which is the caller's to know
// (identity.ServerOptions.RunsOn). They verify control by the roots that Istio has
// given them: a "cacerts" of one root for both. Which roots to believe others by
// they hear with each certificate, so of another one within half of 24 hours: for
// them list it in root-cert.pem a day before it signs.
//
// # Another root
//
// A user replaces the CA by replacing the Secret, under load and without more:
//
//   - The new root is believed from then on, beside the old one. The ConfigMap
//     "fairway-roots" says since when, for all replicas. Its root-cert.pem is what
//     is believed; control writes the same into the ConfigMap that each Gateway's
//     pods mount.
//   - The old CA signs on for 5 minutes, until all know the new root: replicas
//     look at the Secret once a minute, and a kubelet may take two to bring a
//     ConfigMap to its pods. So roots need no faster way. A replica that has just
//     started, and has no old CA, signs nothing before.
//   - Then the new CA signs. Nobody hurries: certificates that the old one signed
//     are believed, and renewed at half of their 24 hours.
//   - The old root is believed until the last certificate that leads to it has
//     expired, 24 hours and 10 minutes after the Secret ceased to list it; while
//     root-cert.pem still lists it, for longer. The same goes for lists of revoked
//     certificates.
//
// Who lists the new root in root-cert.pem 5 minutes before it is needed has the
// new CA sign at once. Where the old CA was stolen nobody is to believe it for
// another day: delete the ConfigMap together with replacing the Secret, and what
// the Secret lists is all that is believed. Connections fail then until pods have
// their new certificates, a minute or two later.
package trust
