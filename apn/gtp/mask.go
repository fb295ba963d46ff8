package gtp

import (
	"bytes"

	ie1 "github.com/wmnsk/go-gtp/gtpv1/ie"
	"github.com/wmnsk/go-gtp/gtpv2/ie"
)

// maskOctet stands in the place of every octet that is hidden.
const maskOctet = '*'

// Mask returns a copy of a datagram to be shown to people: the passwords and
// CHAP responses in its protocol configuration options are made unreadable, and
// every length is kept. It takes any octets; of those that are no whole message it
// hides what might be a password.
func Mask(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) < 8 {
		return b
	}
	switch b[0] >> 5 {
	case 1:
		maskV1(b)
	case 2:
		body := 8
		if b[0]&0x08 != 0 {
			body = 12
		}
		maskV2(b[min(body, len(b)):])
	}
	return b
}

func maskV2(b []byte) {
	for len(b) >= 4 {
		n := min(4+int(b[1])<<8+int(b[2]), len(b)) // one that is cut short has what there is
		switch b[0] {
		case ie.ProtocolConfigurationOptions, ie.AdditionalProtocolConfigurationOptions, ie.ExtendedProtocolConfigurationOptions:
			maskPCO(b[4:n])
		}
		b = b[n:]
	}
}

func maskV1(b []byte) {
	body := b[8:]
	if b[0]&0x07 != 0 {
		if len(b) < 12 {
			return
		}
		body = b[12:]
	}
	if b[0]&0x04 != 0 {
		for next := b[11]; next != 0; {
			n := 0
			if len(body) > 0 {
				n = int(body[0]) * 4
			}
			if n == 0 || n > len(body) {
				hide(body)
				return
			}
			next, body = body[n-1], body[n:]
		}
	}
	for len(body) > 0 {
		head, size := sizeV1(body)
		if size == 0 { // who knows what comes behind it
			hide(body)
			return
		}
		head, size = min(head, len(body)), min(size, len(body))
		if body[0] == ie1.ProtocolConfigurationOptions {
			maskPCO(body[head:size])
		}
		body = body[size:]
	}
}

// maskPCO hides what PAP and CHAP containers hold.
func maskPCO(v []byte) {
	if len(v) == 0 {
		return
	}
	for c := v[1:]; len(c) >= 3; {
		id, n, head := uint16(c[0])<<8|uint16(c[1]), int(c[2]), 3
		switch id {
		case containerServiceLevelAA, containerEAP, containerUEPolicy:
			if len(c) < 4 {
				return
			}
			n, head = n<<8|int(c[3]), 4
		}
		content := c[head:min(head+n, len(c))]
		switch id {
		case containerPAP:
			maskPAP(content)
		case containerCHAP:
			maskCHAP(content)
		}
		c = c[head+len(content):]
	}
}

// maskPAP hides the password of an Authenticate-Request and what is behind it; of
// one that can't be read, everything behind its head.
func maskPAP(b []byte) {
	if len(b) > 0 && (b[0] == papAck || b[0] == papNak) {
		return
	}
	data := b[min(4, len(b)):]
	if _, rest, ok := counted(data); ok && len(rest) > 0 {
		data = rest[1:] // behind the password's length
	}
	hide(data)
}

// maskCHAP hides the value of a response, which passwords can be tried against.
// A challenge alone says nothing.
func maskCHAP(b []byte) {
	if len(b) < 5 || b[0] == chapChallenge || b[0] == chapSuccess || b[0] == chapFailure {
		return
	}
	hide(b[5:min(5+int(b[4]), len(b))])
}

func hide(b []byte) {
	for i := range b {
		b[i] = maskOctet
	}
}
