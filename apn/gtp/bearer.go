package gtp

// ModifyBearerCommand is the subscription's new quality of service, which the
// HSS had the MME pass on (TS 29.274 7.2.14). It is answered by an Update Bearer
// Request with the same sequence number, or by a failure indication (Refusal).
type ModifyBearerCommand struct {
	Header
	AMBRUpKbps, AMBRDownKbps uint32
	Bearer                   Bearer // the default one; User is not told; QCI 0: no Bearer QoS was given
	Sender                   FTEID  // zero when not told
}

// UpdateBearerRequest changes the quality of service of a session's default
// bearer (TS 29.274 7.2.15).
type UpdateBearerRequest struct {
	TEID                     uint32 // of the peer's control plane
	Seq                      uint32 // of the command that triggered it, or our own
	AMBRUpKbps, AMBRDownKbps uint32
	Bearer                   Bearer // User is not sent
}

// UpdateBearerResponse is the peer's answer (TS 29.274 7.2.16). Cause is the
// bearer's own when the message's accepts only partially.
type UpdateBearerResponse struct {
	Header
	Cause    Cause
	Recovery *uint8
}

// ChangeNotificationRequest tells where the terminal is (TS 29.274 7.3.14; over
// GTPv1 an MS Info Change Notification, TS 29.060 7.5B.1).
type ChangeNotificationRequest struct {
	Header
	LinkedEBI    uint8 // or NSAPI; 0: not told
	RAT          uint8
	UserLocation []byte
}

// ChangeNotificationResponse answers it.
type ChangeNotificationResponse struct {
	Version uint8 // 1 or 2
	TEID    uint32
	Seq     uint32
	Cause   Cause
	EBI     uint8 // or NSAPI: what the request named; sent when not 0
}

// SuspendNotification says that the terminal can't be reached for now, as in a
// call over 2G (TS 29.274 7.4.1).
type SuspendNotification struct{ Header }

// SuspendAcknowledge answers it (TS 29.274 7.4.2).
type SuspendAcknowledge struct {
	TEID  uint32
	Seq   uint32
	Cause Cause
}

// ResumeNotification takes a suspension back (TS 29.274 7.4.3).
type ResumeNotification struct{ Header }

// ResumeAcknowledge answers it (TS 29.274 7.4.4).
type ResumeAcknowledge struct {
	TEID  uint32
	Seq   uint32
	Cause Cause
}

// DeletePDNConnectionSetRequest says that an SGW or MME has lost the sessions
// that depend on the sets named (TS 29.274 7.9.1, TS 23.007 partial failure).
type DeletePDNConnectionSetRequest struct {
	Header
	CSIDs [][]byte
}

// DeletePDNConnectionSetResponse answers it (TS 29.274 7.9.2).
type DeletePDNConnectionSetResponse struct {
	Seq      uint32
	Cause    Cause
	Recovery uint8
}

// A connection set identifier names, within one node, sessions that fail
// together (FQ-CSID, TS 29.274 8.62). Here each is a string of octets that is
// equal when the set is: the role of the node (the element's instance), the node
// ID with its type, and one CSID.
