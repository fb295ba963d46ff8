// Package api embeds the API documents, so that the programs can serve what
// they implement and tests can compare the two.
package api

import _ "embed"

// SealServer is the OpenAPI document of the intranet seal server.
//
//go:embed sealserver.yaml
var SealServer []byte

// Phone is the OpenAPI document of the phone API.
//
//go:embed phone.yaml
var Phone []byte

// Admin is the OpenAPI document of the admin API.
//
//go:embed admin.yaml
var Admin []byte

// Fallback is the OpenAPI document of the connection request.
//
//go:embed fallback.yaml
var Fallback []byte
