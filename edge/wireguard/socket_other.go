//go:build !linux

package wireguard

func openBatches(c Conn) (reader, sender) { return single{c}, single{c} }
