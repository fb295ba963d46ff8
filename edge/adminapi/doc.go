// Package adminapi is the language between operators and the gateway: the JSON
// documents of the admin API (served by edge/admin, spoken by tools/sealctl)
// and their conversion from and to the replicated records.
//
// Identifiers are text in the forms of policy/ident. Binary values are
// lower-case hexadecimal for digests and standard base64 for keys. Times are
// RFC 3339 in UTC.
package adminapi
