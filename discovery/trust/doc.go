// Package trust is where the mesh's trust is kept in Kubernetes: the CA in a
// Secret, and whose a service account token is.
//
// The Secret "fairway-ca" of control's namespace has the shape of Istio's
// "cacerts", so that a user can bring a CA under that name. Where there is no
// Secret, [Store] makes a CA; of several replicas that do so at once the first
// wins, and the others read what it wrote. A Secret that is there is never
// written: one that is damaged is reported, and read again until it is mended.
//
// A user replaces the CA by replacing the Secret. Pods learn of the roots by
// their ConfigMaps and get new certificates; whoever cannot wait for the minute
// or two that it takes lists the old root beside the new one in root-cert.pem.
package trust
