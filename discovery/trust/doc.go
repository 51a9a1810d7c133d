// Package trust is where the mesh's trust is kept in Kubernetes: the CA in a
// Secret, and who a pod's token belongs to.
package trust
