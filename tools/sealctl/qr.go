package main

import (
	"strings"

	"rsc.io/qr"
)

// quiet is the margin of a QR code in modules (ISO/IEC 18004 6.3.8).
const quiet = 4

// qrText draws a code with half blocks, two modules above each other in one
// character. Light modules are what is drawn: on a dark screen that is right, and on
// any where the colours are set.
func qrText(code *qr.Code, s screen) string {
	glyphs := map[[2]bool]string{{false, false}: "█", {false, true}: "▀", {true, false}: "▄", {true, true}: " "}
	on, off := "", ""
	if s.colour {
		on, off = "\x1b[97;40m", reset
	}
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString(on)
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString(glyphs[[2]bool{code.Black(x, y), code.Black(x, y+1)}]) // outside nothing is black
		}
		b.WriteString(off + "\n")
	}
	return b.String()
}

// qrWidth is how many columns qrText needs.
func qrWidth(code *qr.Code) int { return code.Size + 2*quiet }
