//go:build !linux

package gtpu

const batches = false

func newReader(conn Conn) reader { return newSingle(conn) }
