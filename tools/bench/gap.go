package main

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/edge/pathwatch"
	"github.com/sealedge/sealedge/tools/sealsim/carrier"
	"github.com/sealedge/sealedge/tools/sealsim/ipstack"
	"github.com/sealedge/sealedge/tools/sealsim/phone"
)

// flowPace is the time between two packets of the flow that goes on across a switch.
const flowPace = 10 * time.Millisecond

// aWhile bounds what should take a moment, and takes longer on a busy machine.
const aWhile = 30 * time.Second

// gaps measures what a flow of 100 packets a second sees of a path switch: of real
// nodes, and a simulated phone that has both paths.
func (b *bench) gaps(ctx context.Context, nodes int) error {
	s, err := newSite(filepath.Join(b.dir, "gap"), b.bin, nodes)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.launch(ctx); err != nil {
		return err
	}
	if err := s.applyPolicy(ctx); err != nil {
		return err
	}
	c, err := newCarrier()
	if err != nil {
		return err
	}
	defer c.Close()
	p, err := s.roamingPhone(ctx, c)
	if err != nil {
		return err
	}
	defer p.Close()
	live := map[phone.Path][][]sample{}
	var dead [][]sample
	for range b.runs {
		if err := openBoth(ctx, p); err != nil {
			return err
		}
		for _, to := range []phone.Path{phone.FallbackPath, phone.CarrierPath} {
			f, err := flow(ctx, p, func(ctx context.Context) error { return switchTo(ctx, p, to) })
			if err != nil {
				return err
			}
			live[to] = append(live[to], flowSamples(f))
		}
		run, err := b.carrierDies(ctx, p, c)
		if err != nil {
			return err
		}
		dead = append(dead, run)
	}
	b.report(figure("gap", nodes, "both live, to the fallback", live[phone.FallbackPath]))
	b.report(figure("gap", nodes, "both live, to the carrier", live[phone.CarrierPath]))
	b.report(figure("gap", nodes, "the carrier dies", dead))
	return nil
}

func flowSamples(f ipstack.Flow) []sample {
	return []sample{{"lost", "packets", float64(f.Sent - f.Answered)}, {"gap", "ms", milliseconds(f.Gap)}}
}

// What the phone shows when it asks for the fallback path.
const fallbackAccount, fallbackPassword = "bench", "correct horse battery"

// roamingPhone attaches a phone that can ask for the fallback path.
func (s *site) roamingPhone(ctx context.Context, c *carrier.Carrier) (*phone.Phone, error) {
	sub, err := subscriber(0)
	if err != nil {
		return nil, err
	}
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := s.admin.call(ctx, "PUT", "/v1/terminals/"+imsiOf(0), adminapi.Terminal{
		IMSI: imsiOf(0), MSISDN: msisdnOf(0), IMEIs: []string{imeiOf(0)}, APNs: []string{apnName},
		WiFiMAC: macOf(0), Label: "bench", WireGuardPublicKey: base64.StdEncoding.EncodeToString(key.PublicKey().Bytes()),
		Credentials: &adminapi.Credentials{User: fallbackAccount, Password: fallbackPassword},
	}, nil); err != nil {
		return nil, err
	}
	_, roots, err := s.identity("operator")
	if err != nil {
		return nil, err
	}
	fallback := &phone.Fallback{PrivateKey: [32]byte(key.Bytes()), Credentials: phone.Credentials{Account: fallbackAccount, Password: fallbackPassword}}
	for _, cfg := range s.cfgs {
		fallback.Requests = append(fallback.Requests, string(cfg.Fallback.Listen))
	}
	p, err := phone.New(phone.Config{SIM: sub, Operator: c, Gateway: innerGateway, App: phone.AppConfig{RootCAs: roots}, Fallback: fallback})
	if err != nil {
		return nil, err
	}
	return p, p.Attach(ctx)
}

// openBoth has the fallback open, too.
func openBoth(ctx context.Context, p *phone.Phone) error {
	return within(ctx, func(ctx context.Context) error {
		_, err := p.OpenFallback(ctx)
		return err
	})
}

// within does something that may have to be done again.
func within(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, aWhile)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 3*time.Second)
		err := do(try)
		end()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// switchTo moves a phone to a path, and waits until the gateway has followed.
func switchTo(ctx context.Context, p *phone.Phone, to phone.Path) error {
	if err := p.Use(to); err != nil {
		return err
	}
	return within(ctx, func(ctx context.Context) error {
		if _, err := p.Ping(ctx); err != nil {
			return err
		}
		a, err := p.Probe(ctx, to)
		if err == nil && !a.Active {
			err = errors.New("the gateway doesn't follow")
		}
		return err
	})
}

// flow sends packets at their pace before, while and after something happens.
func flow(ctx context.Context, p *phone.Phone, happens func(context.Context) error) (f ipstack.Flow, err error) {
	flowing, stop := context.WithCancel(ctx)
	var sending sync.WaitGroup
	var lost error
	sending.Go(func() { f, lost = p.Stack().Flow(flowing, innerGateway, flowPace) })
	time.Sleep(20 * flowPace)
	err = happens(ctx)
	time.Sleep(20 * flowPace)
	stop()
	sending.Wait()
	return f, errors.Join(err, lost)
}

// carrierDies has the carrier fall silent while something waits for an answer, and
// the phone find out by itself.
func (b *bench) carrierDies(ctx context.Context, p *phone.Phone, c *carrier.Carrier) ([]sample, error) {
	roaming, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { _ = p.Roam(roaming, pathwatch.Config{}) }) // ends with its context
	var detection time.Duration
	f, err := flow(ctx, p, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, aWhile)
		defer cancel()
		var asking sync.WaitGroup
		defer asking.Wait()
		asking.Go(func() { // as an app does in a use
			for now, _ := p.Path(); now == phone.CarrierPath && ctx.Err() == nil; now, _ = p.Path() {
				try, end := context.WithTimeout(ctx, time.Second)
				_, _ = p.App().Status(try) // that it isn't answered is what happens here
				end()
			}
		})
		time.Sleep(time.Second) // the watcher looks closer by now
		began := time.Now()
		c.Cut()
		for now, _ := p.Path(); now != phone.FallbackPath; now, _ = p.Path() {
			if ctx.Err() != nil {
				return fmt.Errorf("the phone is on path %q", now)
			}
			time.Sleep(time.Millisecond)
		}
		detection = time.Since(began)
		return within(ctx, func(ctx context.Context) error { _, err := p.Ping(ctx); return err })
	})
	stop()
	watched.Wait()
	c.Restore()
	if err != nil {
		return nil, err
	}
	if err := within(ctx, p.SwitchToCarrier); err != nil {
		return nil, err
	}
	return append(flowSamples(f), sample{"detection", "ms", milliseconds(detection)}, sample{"gap less detection", "ms", milliseconds(f.Gap - detection)}), nil
}
