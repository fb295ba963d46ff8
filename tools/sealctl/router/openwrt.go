package router

import (
	"fmt"
	"net"
	"strings"
)

// openWrt is one file for "uci batch": all of it in sections of our own, so that the
// router's others stay, and loading it twice is loading it once.
func (s Settings) openWrt() []File {
	var u uci
	u.line(strings.TrimSuffix(s.heading("Configuration"), "\n"))
	u.line(`#   scp -O sealedge.uci root@ROUTER:/tmp/
#   ssh root@ROUTER 'uci -q batch </tmp/sealedge.uci; rm /tmp/sealedge.uci; reload_config; wifi'
# It needs the packages wireguard-tools and, with RADIUS, a full wpad or hostapd.`)
	for _, e := range s.others() {
		u.line("# The gateway is also at " + e + ".")
	}
	s.uciNetwork(&u)
	s.uciWireless(&u)
	s.uciFirewall(&u)
	u.line("\ncommit network\ncommit dhcp\ncommit wireless\ncommit firewall")
	return []File{{"sealedge.uci", "OpenWrt configuration, for uci batch", u.String()}}
}

func (s Settings) uciNetwork(u *uci) {
	host, port, _ := net.SplitHostPort(s.endpoint())
	u.section("network", "sealedge", "interface")
	u.set("proto", "wireguard")
	u.set("private_key", s.PrivateKey)
	u.add("addresses", s.Address+"/32")
	u.set("mtu", s.MTU)
	u.section("network", "sealedge_gateway", "wireguard_sealedge")
	u.set("public_key", s.ServerKey)
	if s.PresharedKey != "" {
		u.set("preshared_key", s.PresharedKey)
	}
	u.set("endpoint_host", host)
	u.set("endpoint_port", port)
	u.add("allowed_ips", s.Gateway+"/32")
	u.set("route_allowed_ips", "1")
	u.set("persistent_keepalive", "25")
	u.section("network", "sealedge_lan", "interface")
	u.set("proto", "static")
	u.set("ipaddr", s.LAN.Addr())
	u.set("netmask", net.IP(net.CIDRMask(s.LAN.Bits(), 32)))
	u.set("delegate", "0")
	u.section("dhcp", "sealedge_lan", "dhcp")
	u.set("interface", "sealedge_lan")
	u.set("start", "4")
	u.set("limit", min(1<<(32-s.LAN.Bits())-6, 200))
	u.set("leasetime", "1h")
	u.set("dhcpv6", "disabled")
	u.set("ra", "disabled")
	u.add("dhcp_option", "6") // no DNS: the services are addresses
}

func (s Settings) uciWireless(u *uci) {
	u.line("\nset wireless." + s.Radio + ".disabled='0'")
	if s.Country != "" {
		u.line("set wireless." + s.Radio + ".country='" + s.Country + "'")
	}
	if s.Channel != 0 {
		u.line(fmt.Sprintf("set wireless.%s.channel='%d'", s.Radio, s.Channel))
	}
	u.section("wireless", "sealedge", "wifi-iface")
	u.set("device", s.Radio)
	u.set("mode", "ap")
	u.set("network", "sealedge_lan")
	u.set("ssid", s.SSID)
	u.set("encryption", "psk2+ccmp")
	u.set("key", s.Passphrase)
	u.set("ieee80211w", "1")
	if !s.ByRADIUS {
		u.set("macfilter", "allow")
		for _, d := range s.Devices {
			u.line("# " + comment(d))
			u.add("maclist", d.MAC)
		}
		return
	}
	for _, line := range s.radiusLines() {
		u.add("hostapd_bss_options", line)
	}
}

func (s Settings) uciFirewall(u *uci) {
	u.section("firewall", "sealedge_tunnel", "zone")
	u.set("name", "seal_tunnel")
	u.add("network", "sealedge")
	for _, chain := range []string{"input", "output", "forward"} {
		u.set(chain, "DROP")
	}
	u.set("masq", "1") // the tunnel has one address
	u.set("mtu_fix", "1")
	u.section("firewall", "sealedge_wifi", "zone")
	u.set("name", "seal_wifi")
	u.add("network", "sealedge_lan")
	u.set("input", "DROP")
	u.set("output", "ACCEPT")
	u.set("forward", "DROP")
	rule := func(name, from, to, proto string, port uint16) {
		u.section("firewall", "sealedge_"+name, "rule")
		u.set("name", "sealedge-"+name)
		if from != "" {
			u.set("src", from)
		}
		if to != "" {
			u.set("dest", to)
			u.add("dest_ip", s.Gateway)
		}
		u.set("family", "ipv4")
		u.add("proto", proto)
		u.set("dest_port", port)
		u.set("target", "ACCEPT")
	}
	rule("dhcp", "seal_wifi", "", "udp", 67)
	rule("phones", "seal_wifi", "seal_tunnel", "tcp", s.PhonePort)
	rule("barrels", "seal_wifi", "seal_tunnel", "udp", s.BarrelPort)
	if s.ByRADIUS {
		rule("radius", "", "seal_tunnel", "udp", s.RADIUS.Port) // of the router itself
	} else {
		u.line("\ndelete firewall.sealedge_radius") // of an export before
	}
}

// uci writes commands of "uci batch".
type uci struct {
	strings.Builder
	at string // the section that options go to
}

func (u *uci) line(text string) { u.WriteString(text + "\n") }

// section begins one anew: what there is of it goes.
func (u *uci) section(config, name, kind string) {
	u.at = config + "." + name
	u.line("\ndelete " + u.at + "\nset " + u.at + "=" + quoted(kind))
}

func (u *uci) set(option string, value any) {
	u.line("set " + u.at + "." + option + "=" + quoted(fmt.Sprint(value)))
}

func (u *uci) add(option, value string) {
	u.line("add_list " + u.at + "." + option + "=" + quoted(value))
}

// quoted is a value as uci reads it: quotes end at the next, whatever is between.
func quoted(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" }
