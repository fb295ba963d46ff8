// Package wire holds what goes over the product's own interfaces: the JSON of
// the phone API and of the seal server API, the CBOR of the barrel's API and
// of the barrel's local API to its terminal, their paths, headers and problem
// codes.
//
// It is data and codecs only, shared by the gateway, the reference seal server
// and the simulators, so that all of them mean the same by a field. What a
// message is allowed to say is decided elsewhere (edge/sealuse, policy).
//
// JSON times are RFC 3339; CBOR times are milliseconds of Unix time. Byte
// strings are standard base64 in JSON.
package wire

import (
	"net/url"
	"strconv"
)

// Paths of the phone API, as patterns of net/http's ServeMux. It is served over
// HTTPS (TLS 1.3) at the gateway's inner address, port PhonePort.
const (
	PathStatus       = "/v1/status"
	PathLogin        = "/v1/login"
	PathOrders       = "/v1/orders"
	PathAssociations = "/v1/hotspot/associations"
	PathAllowList    = "/v1/hotspot/allow-list"
	PathUses         = "/v1/uses"
	PathUseCheck     = "/v1/uses/check"
	PathUse          = "/v1/uses/{use}"
	PathReceipts     = "/v1/uses/{use}/receipts"
	PathSettlement   = "/v1/uses/{use}/settlement"
	PathEvidence     = "/v1/uses/{use}/stamps/{stamp}/evidence"
	PathEvents       = "/v1/events"
	PathLockAck      = "/v1/locks/{lock}/ack"
)

// Paths of the seal server API, which the gateway calls over HTTPS with mutual
// TLS. Login and orders have the paths of the phone API.
const (
	PathServerLogin    = "/v1/login"
	PathServerOrders   = "/v1/orders"
	PathServerVerify   = "/v1/seal-uses/verify"
	PathServerEvidence = "/v1/evidence/{order}/{use}/{stamp}"
	PathServerSettled  = "/v1/uses/settled"
	// PathDisconnects is on the gateway, for the seal server to call.
	PathDisconnects = "/v1/disconnects"
)

// Paths of the barrel API (CoAP over DTLS), on the gateway and, for lock and
// status, on the barrel.
const (
	PathHeartbeat     = "/hb"
	PathBarrelReceipt = "/receipt"
	PathBarrelSettle  = "/settle"
	PathBarrelEvent   = "/event"
	PathBarrelLock    = "/lock"
	PathBarrelStatus  = "/status"
)

// Paths of the barrel's local API (CoAP over UDP on the hotspot).
const (
	PathLocalUnlock   = "/unlock"
	PathLocalStatus   = "/status"
	PathLocalReceipts = "/receipts" // with the query use=<id>
	PathLocalLock     = "/lock"
)

// Ports.
const (
	PhonePort  = 443  // TCP, HTTPS, at the inner gateway
	BarrelPort = 5684 // UDP, CoAPs, at the inner gateway
	LocalPort  = 5683 // UDP, CoAP, at the barrel on the hotspot
)

// UsePath is where a use is seen.
func UsePath(use uint64) string { return "/v1/uses/" + strconv.FormatUint(use, 10) }

// ReceiptsPath takes a use's receipts.
func ReceiptsPath(use uint64) string { return UsePath(use) + "/receipts" }

// SettlementPath takes a use's settlement statement.
func SettlementPath(use uint64) string { return UsePath(use) + "/settlement" }

// EvidencePath takes the image of a stamping, on the phone API.
func EvidencePath(use uint64, stamp uint32) string {
	return UsePath(use) + "/stamps/" + strconv.FormatUint(uint64(stamp), 10) + "/evidence"
}

// LockAckPath acknowledges a lock.
func LockAckPath(lock uint64) string {
	return "/v1/locks/" + strconv.FormatUint(lock, 10) + "/ack"
}

// ServerEvidencePath takes the image of a stamping, on the seal server. The
// order number is escaped: it may hold slashes.
func ServerEvidencePath(r EvidenceRef) string {
	return "/v1/evidence/" + url.PathEscape(r.Order) + "/" + strconv.FormatUint(r.Use, 10) +
		"/" + strconv.FormatUint(uint64(r.Stamp), 10)
}
