// Package meshports keeps which port of waypoints stands for which port of a
// Service, or of a pod that has a waypoint itself: on it node agents put connections that are captured on their way
// there (routing.Capture.To, routing.Listener.Capture).
//
// The law: one number for one port, the same in the whole cluster, as long as
// anybody wants it; and for an hour after that it is nobody else's, so that no
// agent that is late sends a connection to a wrong Service. Where there is no
// number nobody gets through; node agents have clients wait for it.
//
// They are in one ConfigMap, "fairway-system/fairway-mesh-ports", which
// translation reads like any object: data "cart.shop.80" is "20001"
// (gatewayapi.MeshPortKey), and binaryData "released" remembers what has been
// given back, a line each: number, Unix time, key. The replica that leads writes
// it, what has changed alone; of two that do so at once the second begins anew
// with what the first wrote. A start with thousands of ports is one write. What
// others edit in it is mended, as far as it breaks the law, within a minute.
//
// An object of Kubernetes has room for 15,000 ports, their keys twice with the
// bookkeeping of the API server. Half of the room, for some 6,000, is the most
// that pods take, with those that have gone within the hour. Beyond that ports get
// no number, and an error says so.
//
// Control needs to get, create and patch ConfigMaps in that namespace.
package meshports
