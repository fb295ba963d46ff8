package gtp

import (
	"bytes"
	"fmt"
	"testing"
)

// release7 is a profile with the octets of bit rates given: maximum up and down,
// guaranteed up and down, each with its two extensions.
func release7(up, down, gup, gdown [3]byte) []byte {
	return []byte{
		0x0b, 0x92, 0x1f, 0x73, 0x96, up[0], down[0], 0x74, 0x01, gup[0], gdown[0], 0,
		down[1], gdown[1], up[1], gup[1], down[2], gdown[2], up[2], gup[2],
	}
}

func TestQoSBitRates(t *testing.T) {
	for _, c := range []struct {
		octets [3]byte
		kbps   uint32
	}{
		{[3]byte{0}, 0}, // left to the subscription
		{[3]byte{255}, 0},
		{[3]byte{1}, 1},
		{[3]byte{63}, 63},
		{[3]byte{64}, 64},
		{[3]byte{127}, 568},
		{[3]byte{128}, 576},
		{[3]byte{254}, 8640},
		{[3]byte{254, 1}, 8700},
		{[3]byte{254, 74}, 16_000},
		{[3]byte{254, 75}, 17_000},
		{[3]byte{254, 186}, 128_000},
		{[3]byte{254, 187}, 130_000},
		{[3]byte{254, 250}, 256_000},
		{[3]byte{254, 251}, 256_000}, // not defined
		{[3]byte{1, 74}, 16_000},     // the extension counts
		{[3]byte{254, 250, 1}, 260_000},
		{[3]byte{254, 250, 61}, 500_000},
		{[3]byte{254, 250, 62}, 510_000},
		{[3]byte{254, 250, 161}, 1_500_000},
		{[3]byte{254, 250, 162}, 1_600_000},
		{[3]byte{254, 250, 246}, 10_000_000},
		{[3]byte{254, 250, 255}, 10_000_000}, // not defined
	} {
		if up, down := (QoSProfile{Data: release7(c.octets, [3]byte{}, [3]byte{}, [3]byte{})}).MaxKbps(); up != c.kbps || down != 0 {
			t.Errorf("up %v: %d %d, want %d 0", c.octets, up, down, c.kbps)
		}
		if up, down := (QoSProfile{Data: release7([3]byte{}, c.octets, [3]byte{}, [3]byte{})}).MaxKbps(); up != 0 || down != c.kbps {
			t.Errorf("down %v: %d %d, want 0 %d", c.octets, up, down, c.kbps)
		}
	}
}

func TestQoSOfEarlierReleases(t *testing.T) {
	full := release7([3]byte{254, 74, 1}, [3]byte{254, 100, 2}, [3]byte{}, [3]byte{})
	for n, want := range map[int][2]uint32{
		0: {}, 2: {},
		3:  {2048, 2048}, // peak throughput class 9
		10: {2048, 2048},
		11: {8640, 8640}, 12: {8640, 8640},
		14: {8640, 42_000}, 16: {16_000, 42_000},
		18: {16_000, 264_000}, 20: {260_000, 264_000},
	} {
		if up, down := (QoSProfile{Data: full[:n]}).MaxKbps(); up != want[0] || down != want[1] {
			t.Errorf("%d octets: %d %d, want %v", n, up, down, want)
		}
	}
	for class, want := range map[byte]uint32{0: 0, 1: 8, 9: 2048, 10: 0, 15: 0} {
		if up, _ := (QoSProfile{Data: []byte{0, class << 4, 0}}).MaxKbps(); up != want {
			t.Errorf("peak throughput class %d: %d, want %d", class, up, want)
		}
	}
}

func TestQoSWithin(t *testing.T) {
	fast := [3]byte{254, 250, 246} // 10 Gbit/s
	for _, c := range []struct {
		limit  uint32
		octets [3]byte
	}{
		{0, fast},
		{10_000_000, fast},
		{20_000_000, fast},
		{9_999_999, [3]byte{254, 250, 245}},
		{1_500_000, [3]byte{254, 250, 161}},
		{1_599_999, [3]byte{254, 250, 161}},
		{505_000, [3]byte{254, 250, 61}},
		{260_000, [3]byte{254, 250, 1}},
		{259_999, [3]byte{254, 250}},
		{129_000, [3]byte{254, 186}},
		{16_999, [3]byte{254, 74}},
		{8700, [3]byte{254, 1}},
		{8699, [3]byte{254}},
		{639, [3]byte{128}},
		{575, [3]byte{127}},
		{65, [3]byte{64}},
		{63, [3]byte{63}},
		{1, [3]byte{1}},
	} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			asked := QoSProfile{ARP: 3, Data: release7(fast, fast, fast, [3]byte{})}
			before := bytes.Clone(asked.Data)
			got := asked.Within(c.limit, 0)
			if want := release7(c.octets, fast, c.octets, [3]byte{}); got.ARP != 3 || !bytes.Equal(got.Data, want) {
				t.Errorf("up:\n got % x\nwant % x", got.Data, want)
			}
			got = asked.Within(0, c.limit)
			if want := release7(fast, c.octets, fast, [3]byte{}); !bytes.Equal(got.Data, want) {
				t.Errorf("down:\n got % x\nwant % x", got.Data, want)
			}
			if !bytes.Equal(asked.Data, before) {
				t.Error("what was asked for has changed")
			}
		})
	}
}

// Of every profile of every length, under every limit: nothing is raised, nothing
// is above the limit, nothing else changes, and lowering again changes nothing.
func TestQoSNeverRaises(t *testing.T) {
	rates := map[int]bool{}
	for _, r := range []qosRate{maxUp, maxDown, guaranteedUp, guaranteedDown} {
		rates[r.base], rates[r.extended], rates[r.extended2] = true, true, true
	}
	for _, n := range []int{0, 1, 3, 7, 11, 12, 14, 16, 18, 20} {
		for octet := range 256 {
			data := bytes.Repeat([]byte{byte(octet)}, n)
			for _, limit := range []uint32{1, 7, 64, 1000, 8650, 16_000, 200_000, 600_000, 2_000_000} {
				asked := QoSProfile{Data: data}
				up, down := asked.MaxKbps()
				got := asked.Within(limit, limit)
				newUp, newDown := got.MaxKbps()
				// The lowest peak throughput class is 8 kbit/s.
				if most := max(limit, 8); newUp > min(up, most) || newDown > min(down, most) {
					t.Fatalf("% x within %d: % x", data, limit, got.Data)
				}
				if n >= qosRelease99 && (up > 0 && newUp == 0 || down > 0 && newDown == 0) {
					t.Fatalf("% x within %d: nothing is left in % x", data, limit, got.Data)
				}
				for i := range got.Data {
					if got.Data[i] != data[i] && (n >= qosRelease99 && !rates[i] || n < qosRelease99 && i != 1) {
						t.Fatalf("% x within %d: octet %d of % x has changed", data, limit, i, got.Data)
					}
				}
				if again := got.Within(limit, limit); !bytes.Equal(again.Data, got.Data) {
					t.Fatalf("% x within %d: % x, then % x", data, limit, got.Data, again.Data)
				}
			}
		}
	}
}
