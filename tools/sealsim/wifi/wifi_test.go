package wifi

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/sealedge/sealedge/policy/ident"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
)

func mac(t *testing.T, s string) ident.MAC {
	t.Helper()
	m, err := ident.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func station(t *testing.T, last string) Station {
	return Station{MAC: mac(t, "02:00:5e:10:00:"+last), Hostname: "barrel-" + last}
}

var network = netip.MustParsePrefix("192.168.43.1/24")

// hotspot is an access point whose tunnel ends in another stack.
func hotspot(t *testing.T, cfg Config) (*AccessPoint, *ipstack.Stack) {
	t.Helper()
	gateway, err := ipstack.New(netip.PrefixFrom(gatewayAt.Addr(), 32), 0)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Prefix, cfg.Uplink = network, gateway.Deliver
	cfg.Outside = func() netip.Addr { return tunnel }
	ap, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	gateway.SetLink(func(b []byte) { ap.Inbound(b) })
	t.Cleanup(func() {
		gateway.SetLink(nil)
		ap.Close()
		gateway.Close()
	})
	return ap, gateway
}

// device gives a joined station a stack.
func device(t *testing.T, l *Link) *ipstack.Stack {
	t.Helper()
	s, err := ipstack.New(l.Address(), 0)
	if err != nil {
		t.Fatal(err)
	}
	l.Handle(s.Deliver)
	s.SetLink(l.Send)
	t.Cleanup(s.Close)
	return s
}

func TestStationReachesGatewayAndHandset(t *testing.T) {
	ap, gateway := hotspot(t, Config{})
	l, err := ap.Join(t.Context(), station(t, "01"))
	if err != nil {
		t.Fatal(err)
	}
	if l.Address() != netip.MustParsePrefix("192.168.43.2/24") || l.Router() != network.Addr() {
		t.Errorf("address %v, router %v", l.Address(), l.Router())
	}
	s := device(t, l)
	server, err := gateway.ListenUDP(gatewayAt.Port())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := s.DialUDP(gatewayAt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("heartbeat")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	n, from, err := server.ReadFrom(buf)
	if err != nil || string(buf[:n]) != "heartbeat" {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	if at := netip.MustParseAddrPort(from.String()); at.Addr() != tunnel || at.Port() < firstOutside {
		t.Errorf("the gateway sees %v", at)
	}
	if _, err := server.WriteTo([]byte("lease"), from); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(buf); err != nil || string(buf[:n]) != "lease" {
		t.Errorf("%q, %v", buf[:n], err)
	}
	// Between handset and station there is no translation.
	if _, err := ap.Host().Ping(t.Context(), l.Address().Addr()); err != nil {
		t.Error(err)
	}
	if _, err := s.Ping(t.Context(), l.Router()); err != nil {
		t.Error(err)
	}
}

func TestOnlyWhoIsLetInJoins(t *testing.T) {
	refusal := errors.New("mac-not-allowed")
	var asked []Station
	ap, _ := hotspot(t, Config{Authorise: func(_ context.Context, s Station) error {
		asked = append(asked, s)
		if s.Hostname == "barrel-66" {
			return refusal
		}
		return nil
	}})
	if _, err := ap.Join(t.Context(), station(t, "66")); !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
	if _, err := ap.Join(t.Context(), station(t, "01")); err != nil {
		t.Error(err)
	}
	if len(asked) != 2 || asked[0] != station(t, "66") {
		t.Errorf("asked about %v", asked)
	}
	if _, ok := ap.AddressOf(mac(t, "02:00:5e:10:00:66")); ok {
		t.Error("the refused station has an address")
	}
}

func TestHowLinksEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*AccessPoint, *Link)
		want error
	}{
		{"leave", func(_ *AccessPoint, l *Link) { l.Leave(); l.Leave() }, ErrLeft},
		{"kick", func(ap *AccessPoint, l *Link) {
			if !ap.Kick(l.station.MAC) || ap.Kick(l.station.MAC) {
				t.Error("kick must tell whether the station was there")
			}
		}, ErrKicked},
		{"join again", func(ap *AccessPoint, l *Link) { _, _ = ap.Join(t.Context(), l.station) }, ErrLeft},
		{"close", func(ap *AccessPoint, _ *Link) { ap.Close() }, ErrClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			left := make(chan Station, 2)
			ap, _ := hotspot(t, Config{Left: func(s Station) { left <- s }})
			l, err := ap.Join(t.Context(), station(t, "01"))
			if err != nil {
				t.Fatal(err)
			}
			if l.Err() != nil {
				t.Error("ended before its end")
			}
			c.end(ap, l)
			<-l.Done()
			if !errors.Is(l.Err(), c.want) {
				t.Errorf("ended with %v, want %v", l.Err(), c.want)
			}
			if s := <-left; s != station(t, "01") {
				t.Errorf("%v left", s)
			}
		})
	}
}

func TestNetworkFillsUp(t *testing.T) {
	ap, err := New(Config{Prefix: netip.MustParsePrefix("192.168.43.1/29")})
	if err != nil {
		t.Fatal(err)
	}
	defer ap.Close()
	for _, last := range []string{"01", "02", "03", "04", "05"} { // .2 to .6; .7 is the broadcast address
		if _, err := ap.Join(t.Context(), station(t, last)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ap.Join(t.Context(), station(t, "06")); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
}

// A station can't speak for another, nor to another.
func TestStationsAreKeptApart(t *testing.T) {
	ap, _ := hotspot(t, Config{})
	a, err := ap.Join(t.Context(), station(t, "01"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := ap.Join(t.Context(), station(t, "02"))
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	b.Handle(func([]byte) { got++ })
	at := netip.AddrPortFrom(b.Address().Addr(), 5683)
	a.Send(udp(netip.AddrPortFrom(a.Address().Addr(), 1), at, "hello"))
	a.Send(udp(netip.AddrPortFrom(network.Addr(), 1), at, "as the handset"))
	if got != 0 {
		t.Errorf("%d packets passed", got)
	}
	a.Send(udp(netip.AddrPortFrom(b.Address().Addr(), 1), gatewayAt, "as the other"))
	if len(ap.nat.inside) != 0 {
		t.Error("a packet with another station's address was translated")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, prefix := range []string{"fd00::1/64", "192.168.43.1/31"} {
		if _, err := New(Config{Prefix: netip.MustParsePrefix(prefix)}); err == nil {
			t.Errorf("%s was accepted", prefix)
		}
	}
	ap, _ := hotspot(t, Config{})
	if _, err := ap.Join(t.Context(), Station{}); err == nil {
		t.Error("a station without a MAC joined")
	}
}
