// Package floorplan holds no code, only the test that keeps the house in
// order: every package stands on a floor, imports only lower floors, and a
// third-party library with a wide surface is imported in its own room alone.
//
// The plan is the table in floorplan_test.go. A new package must be given its
// floor there before the test passes again.
package floorplan
