package main

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"regexp"
	"strings"
	"testing"

	"github.com/makiuchi-d/gozxing"
	"github.com/makiuchi-d/gozxing/qrcode"
	"github.com/rogpeppe/go-internal/testscript"
	"rsc.io/qr"
)

// scanned reads a QR code as a phone does, which looks for it in what it sees; this
// scanner misses it once in a while, but a phone looks again, and sees another picture
// then. Of one that is only the code it can be told so.
func scanned(img image.Image) (string, error) {
	var mistakes error
	for _, hints := range []map[gozxing.DecodeHintType]any{nil, {gozxing.DecodeHintType_PURE_BARCODE: true}} {
		bitmap, err := gozxing.NewBinaryBitmapFromImage(img)
		if err != nil {
			return "", err
		}
		result, err := qrcode.NewQRCodeReader().Decode(bitmap, hints)
		if err == nil {
			return result.GetText(), nil
		}
		mistakes = errors.Join(mistakes, err)
	}
	return "", mistakes
}

var escapes = regexp.MustCompile("\x1b\\[[0-9;]*m")

// onScreen is the picture that half blocks make of what is lit and what is dark; nil:
// there is none in the text.
func onScreen(text string) image.Image {
	const scale = 4
	var rows [][2][]bool // lit, above and below
	for line := range strings.Lines(escapes.ReplaceAllString(text, "")) {
		line = strings.TrimRight(line, "\n")
		if !strings.ContainsAny(line, "█▀▄") || strings.Trim(line, "█▀▄ ") != "" {
			continue
		}
		var r [2][]bool
		for _, c := range line {
			r[0], r[1] = append(r[0], c == '█' || c == '▀'), append(r[1], c == '█' || c == '▄')
		}
		rows = append(rows, r)
	}
	if rows == nil {
		return nil
	}
	img := image.NewGray(image.Rect(0, 0, len(rows[0][0])*scale, 2*len(rows)*scale))
	for y := range img.Rect.Max.Y {
		for x := range img.Rect.Max.X {
			if row := rows[y/scale/2][y/scale%2]; x/scale < len(row) && row[x/scale] {
				img.Set(x, y, color.White)
			}
		}
	}
	return img
}

// What is on the screen and in the picture is what was to be said, whatever its size.
func TestQRIsScanned(t *testing.T) {
	for _, n := range []int{1, 20, 100, 300, 330, 600} {
		text := strings.Repeat("PrivateKey = 0123456789abcdef+/=\n", n/30+1)[:n]
		for _, level := range []qr.Level{qr.L, qr.M} {
			code, err := qr.Encode(text, level)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []screen{{}, {terminal: true, width: 200, colour: true}} {
				drawn := qrText(code, s)
				if got, err := scanned(onScreen(drawn)); err != nil || got != text {
					t.Errorf("%d bytes, level %v, colour %v: %q, %v", n, level, s.colour, got, err)
				}
				if width := len([]rune(strings.SplitN(escapes.ReplaceAllString(drawn, ""), "\n", 2)[0])); width != qrWidth(code) {
					t.Errorf("it is %d columns wide, said are %d", width, qrWidth(code))
				}
				if strings.Contains(drawn, "\x1b") != s.colour {
					t.Errorf("colour %v: %q", s.colour, drawn)
				}
			}
			img, err := png.Decode(bytes.NewReader(code.PNG()))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := scanned(img); err != nil || got != text {
				t.Errorf("%d bytes, level %v, in the picture: %q, %v", n, level, got, err)
			}
		}
	}
}

// scans FILE CONFIG: the QR code in a picture, or on what was seen of a screen, has
// the lines of a configuration, less comments.
func scans(ts *testscript.TestScript, _ bool, args []string) {
	var img image.Image
	var err error
	if text := ts.ReadFile(args[0]); strings.HasSuffix(args[0], ".png") {
		img, err = png.Decode(strings.NewReader(text))
		ts.Check(err)
	} else if img = onScreen(text); img == nil {
		ts.Fatalf("no QR code in %s", args[0])
	}
	got, err := scanned(img)
	ts.Check(err)
	want := ""
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		if !strings.HasPrefix(line, "#") {
			want += line
		}
	}
	if got != want || !strings.Contains(want, "PrivateKey = ") {
		ts.Fatalf("scanned:\n%s\nwant:\n%s", got, want)
	}
}
