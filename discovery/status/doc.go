// Package status writes what became of objects into their status.
package status
