package router

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// hostapd is what a router with plain Linux takes: hostapd, wg-quick, nftables and
// dnsmasq.
func (s Settings) hostapd() []File {
	files := []File{
		{"hostapd.conf", "access point", s.hostapdConf()},
		{"sealedge.conf", "WireGuard, for wg-quick", s.wgQuick()},
		{"sealedge.nft", "nftables: nothing but the inner services", s.nftables()},
		{"dnsmasq.conf", "DHCP on the Wi-Fi", s.dnsmasq()},
	}
	if !s.ByRADIUS {
		files = append(files, File{"hostapd.accept", "who may join", s.accept()})
	}
	return files
}

// radiusLines are of hostapd.conf, with macaddr_acl=2. hostapd sends every request
// with a Message-Authenticator; from 2.11 on it also insists on one in answers by
// radius_require_message_authenticator=1, which older ones don't know.
func (s Settings) radiusLines() []string {
	return []string{
		"macaddr_acl=2",
		"own_ip_addr=" + s.Address,
		"radius_client_addr=" + s.Address,
		"auth_server_addr=" + s.Gateway,
		fmt.Sprintf("auth_server_port=%d", s.RADIUS.Port),
		"auth_server_shared_secret=" + s.RADIUS.Secret,
	}
}

func (s Settings) hostapdConf() string {
	var b strings.Builder
	b.WriteString(s.heading("hostapd's configuration"))
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("interface=%s\ndriver=nl80211\nctrl_interface=/run/hostapd", s.Interface)
	// In quotes as it is: whatever is between the first quote and the last is the name.
	line(`ssid2="%s"`, s.SSID)
	channel := s.Channel
	if channel == 0 {
		channel = 6
	}
	mode := "g"
	if channel > 14 {
		mode = "a"
	}
	line("hw_mode=%s\nchannel=%d\nieee80211n=1\nwmm_enabled=1", mode, channel)
	if s.Country != "" {
		line("country_code=%s\nieee80211d=1", s.Country)
	}
	line("wpa=2\nwpa_key_mgmt=WPA-PSK WPA-PSK-SHA256\nrsn_pairwise=CCMP\nwpa_passphrase=%s\nieee80211w=1", s.Passphrase)
	if s.ByRADIUS {
		line("nas_identifier=sealedge-%s", s.IMSI)
		for _, l := range s.radiusLines() {
			line("%s", l)
		}
		return b.String()
	}
	line("# Only who is in the file.\nmacaddr_acl=1\naccept_mac_file=/etc/hostapd/hostapd.accept")
	return b.String()
}

func (s Settings) accept() string {
	var b strings.Builder
	b.WriteString(s.heading("Who may join the Wi-Fi"))
	for _, d := range s.Devices {
		fmt.Fprintf(&b, "# %s\n%s\n", comment(d), d.MAC)
	}
	return b.String()
}

func (s Settings) wgQuick() string {
	var b strings.Builder
	b.WriteString(s.heading("WireGuard configuration"))
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nAddress = %s/32\nMTU = %d\n\n[Peer]\nPublicKey = %s\n", s.PrivateKey, s.Address, s.MTU, s.ServerKey)
	if s.PresharedKey != "" {
		fmt.Fprintf(&b, "PresharedKey = %s\n", s.PresharedKey)
	}
	fmt.Fprintf(&b, "Endpoint = %s\nAllowedIPs = %s/32\nPersistentKeepalive = 25\n", s.endpoint(), s.Gateway)
	for _, e := range s.others() {
		fmt.Fprintf(&b, "# The gateway is also at %s.\n", e)
	}
	return b.String()
}

// nftables lets the Wi-Fi reach the inner services and the router ask over RADIUS;
// the tunnel brings nothing but answers.
func (s Settings) nftables() string {
	radius := ""
	if s.ByRADIUS {
		radius = fmt.Sprintf("\n\t\toifname \"sealedge\" ip daddr %s udp dport %d accept", s.Gateway, s.RADIUS.Port)
	}
	return s.heading("nftables") + strings.NewReplacer(
		"WIFI", s.Interface, "GATEWAY", s.Gateway, "PHONES", fmt.Sprint(s.PhonePort), "BARRELS", fmt.Sprint(s.BarrelPort), "\n\t\tRADIUS", radius,
	).Replace(`table inet sealedge
delete table inet sealedge
table inet sealedge {
	chain forward {
		type filter hook forward priority filter - 1; policy accept;
		iifname "WIFI" oifname "sealedge" ip daddr GATEWAY tcp dport PHONES accept
		iifname "WIFI" oifname "sealedge" ip daddr GATEWAY udp dport BARRELS accept
		iifname "sealedge" oifname "WIFI" ct state established,related accept
		iifname { "WIFI", "sealedge" } drop
		oifname { "WIFI", "sealedge" } drop
	}
	chain input {
		type filter hook input priority filter - 1; policy accept;
		iifname "WIFI" udp dport 67 accept
		iifname "WIFI" drop
		iifname "sealedge" ct state established,related accept
		iifname "sealedge" drop
	}
	chain output {
		type filter hook output priority filter - 1; policy accept;
		RADIUS
		oifname "sealedge" drop
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "sealedge" masquerade
	}
}
`)
}

func (s Settings) dnsmasq() string {
	first, last := hosts(s.LAN)
	return s.heading("dnsmasq's configuration") + fmt.Sprintf(
		"# %s has %s.\ninterface=%s\nbind-interfaces\nexcept-interface=lo\n# No DNS: the services are addresses.\nport=0\ndhcp-option=6\ndhcp-range=%s,%s,%s,1h\n",
		s.Interface, s.LAN, s.Interface, first, last, net.IP(net.CIDRMask(s.LAN.Bits(), 32)))
}

// hosts are the ends of the range that DHCP gives away; dnsmasq leaves its own address
// out.
func hosts(lan netip.Prefix) (first, last netip.Addr) {
	first = lan.Masked().Addr()
	for range 4 {
		first = first.Next()
	}
	last = first
	for range min(1<<(32-lan.Bits())-6, 200) - 1 {
		last = last.Next()
	}
	return first, last
}
