package adminapi

// Router is all that a travel router has to know: how it reaches the gateway, what
// it may reach there, and who may join its Wi-Fi. The secrets are in no answer that others get.
type Router struct {
	IMSI      string `json:"imsi"` // of the terminal that it is
	Label     string `json:"label,omitempty"`
	Address   string `json:"address"`    // its own, inside the tunnel; IPv4
	PublicKey string `json:"public_key"` // of its WireGuard key, base64, as on record; empty: none is

	Gateway   string   `json:"gateway"`            // the gateway's inner address, IPv4
	Endpoints []string `json:"endpoints"`          // where the fallback path is: all gateway addresses, with the port
	ServerKey string   `json:"gateway_public_key"` // of its WireGuard key, base64
	MTU       int      `json:"mtu"`                // inside the tunnel, bytes
	// PresharedKey is that of the router's lease of the fallback path, base64; empty:
	// it has none, and comes by its WireGuard key alone.
	PresharedKey string `json:"preshared_key,omitempty"`
	// Ports at Gateway of the phone API (TCP) and the barrel API (UDP).
	PhonePort  uint16 `json:"phone_port"`
	BarrelPort uint16 `json:"barrel_port"`
	// RADIUS tells how to ask who may join; nil: the gateway doesn't answer that.
	RADIUS *RouterRADIUS `json:"radius,omitempty"`

	Devices  []RouterDevice `json:"devices"`         // who may join as it is now, by MAC
	Version  uint64         `json:"version"`         // of Devices: never goes back
	Revision uint64         `json:"policy_revision"` // by which they may
}

// RouterRADIUS is MAC authentication over RADIUS, at the gateway's inner address.
type RouterRADIUS struct {
	Port   uint16 `json:"port"`   // UDP
	Secret string `json:"secret"` // shared by this router and the gateway
}

// RouterDevice is a device that may join.
type RouterDevice struct {
	MAC    string `json:"mac"`
	Role   string `json:"role"` // "barrel", or as the policy names it
	Barrel string `json:"barrel,omitempty"`
}
