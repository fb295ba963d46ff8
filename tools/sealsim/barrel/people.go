package barrel

import (
	"bytes"
	"crypto/sha256"
	"image"
	"image/color"
	"image/png"
	"time"

	"github.com/sealedge/sealedge/edge/wire"
)

// act is somebody or something acting on the barrel.
func (b *Barrel) act(fn func(m *Machine, now time.Time) []Action) error {
	l := b.alive()
	if l == nil {
		return ErrOff
	}
	return l.do(fn)
}

// Finger is somebody's finger on the sensor.
func (b *Barrel) Finger(person string) error { return b.verify(wire.MethodFingerprint, person) }

// Face is somebody's face before the camera.
func (b *Barrel) Face(person string) error { return b.verify(wire.MethodFace, person) }

func (b *Barrel) verify(method, person string) error {
	var refused error
	err := b.act(func(m *Machine, now time.Time) (acts []Action) {
		acts, refused = m.Verify(now, method, person)
		return acts
	})
	if err != nil {
		return err
	}
	return refused
}

// Press is somebody pressing the seal onto paper. It returns the number of the
// stamping within the use.
func (b *Barrel) Press() (number uint32, err error) {
	var refused error
	err = b.act(func(m *Machine, now time.Time) (acts []Action) {
		number, acts, refused = m.Press(now)
		return acts
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return 0, err
	}
	return number, nil
}

// Tamper is somebody opening the case.
func (b *Barrel) Tamper() error {
	return b.act(func(m *Machine, now time.Time) []Action { return m.Tamper(now) })
}

// Service is the maker closing the case again.
func (b *Barrel) Service() error {
	return b.act(func(m *Machine, _ time.Time) []Action { return m.Service() })
}

// SetBattery sets the charge in per cent.
func (b *Barrel) SetBattery(percent uint8) error {
	return b.act(func(m *Machine, now time.Time) []Action { return m.SetBattery(now, percent) })
}

// Page is the size of a photographed page in pixels.
const (
	pageWidth  = 420
	pageHeight = 594
)

// Photograph takes the picture of a page under the camera, as PNG: lines of
// text that depend on what the page is, and the round red impressions that the
// seal has made so far in this life of the paper.
func (b *Barrel) Photograph(page string, impressions int) ([]byte, error) {
	if b.alive() == nil {
		return nil, ErrOff
	}
	img := image.NewPaletted(image.Rect(0, 0, pageWidth, pageHeight), color.Palette{
		color.White, color.Gray{Y: 40}, color.RGBA{R: 200, A: 255},
	})
	text := sha256.Sum256([]byte(page))
	for line := range 24 {
		length := 120 + int(text[line])*240/255
		for y := 60 + line*16; y < 66+line*16; y++ {
			for x := 30; x < 30+length; x++ {
				img.SetColorIndex(x, y, 1)
			}
		}
	}
	for i := range impressions {
		ring(img, 330-i%3*110, 500-i/3*110)
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// ring draws one impression of a round seal.
func ring(img *image.Paletted, cx, cy int) {
	for y := -50; y <= 50; y++ {
		for x := -50; x <= 50; x++ {
			if r := x*x + y*y; r <= 50*50 && r >= 45*45 || r <= 12*12 {
				img.SetColorIndex(cx+x, cy+y, 2)
			}
		}
	}
}
