package phoneapi

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/sealedge/sealedge/cluster/state"
	"github.com/sealedge/sealedge/edge/grant"
	"github.com/sealedge/sealedge/edge/sealuse"
	"github.com/sealedge/sealedge/edge/wire"
)

// associate is POST /v1/hotspot/associations.
func (s *Server) associate(c *call) error {
	var report wire.Association
	if err := c.decode(&report); err != nil {
		return err
	}
	answer, err := s.cfg.Hotspot.Associate(c.imsi(), report)
	if err != nil {
		var p *wire.Problem
		if errors.As(err, &p) && p.Code != wire.CodeBadRequest {
			s.refused(c, sealuse.KindHotspot, "mac "+report.MAC, p)
		}
		if p != nil && p.Code == wire.CodeMACNotAllowed {
			s.counts.add("alarm-unlisted-mac")
			s.alarm(c, "a device with MAC "+report.MAC+", which may be on no hotspot, came to this one")
		}
		return err
	}
	if report.Event == wire.EventJoin {
		subject := "barrel " + answer.Barrel
		if answer.Barrel == "" { // a device that the policy names
			subject = "mac " + report.MAC
		}
		s.record.decided(s.record.approvals, c.holder(), sealuse.Decided(sealuse.KindHotspot, c.imsi(), subject, nil, s.revision()))
	}
	return c.reply(http.StatusOK, answer)
}

// allowList is GET /v1/hotspot/allow-list: as it is in the whole cluster, since who
// has it may let devices join for a while. Who has the same already gets 304, for as
// long as his expires no sooner (RFC 9110 13.1.2).
func (s *Server) allowList(c *call) error {
	if err := s.cfg.Cluster.ReadIndex(c.r.Context()); err != nil {
		return err
	}
	now := time.Now()
	s.cfg.Cluster.View(func(m *state.Machine) { now = sealuse.Later(now, m.Clock()) })
	list, err := s.cfg.Hotspot.List(c.imsi(), now)
	if err != nil {
		return err
	}
	tag := listTag(list)
	c.w.Header().Set("ETag", tag)
	if matches(c.r.Header.Values("If-None-Match"), tag) {
		c.w.Header().Set("Cache-Control", "no-store")
		c.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	signed, err := grant.SignAllowList(list, s.cfg.GrantKey)
	if err != nil {
		return fmt.Errorf("hotspot list: %w", err)
	}
	return c.reply(http.StatusOK, wire.AllowList{Version: list.Version, Expires: list.Expires, List: signed})
}

// listTag is the entity tag of a list: of who may join, and until when. It is weak,
// since a list that says the same later has another version (RFC 9110 8.8.1).
func listTag(l grant.AllowList) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00%d\x00%d\x00", l.IMSI, l.Revision, l.Expires.Unix())
	for _, d := range l.Devices {
		h.Write(d.MAC[:])
		h.Write(binary.AppendUvarint(nil, uint64(len(d.Role))))
		h.Write([]byte(d.Role + d.Barrel + "\x00"))
	}
	return `W/"` + hex.EncodeToString(h.Sum(nil)[:12]) + `"`
}

// matches compares weakly (RFC 9110 8.8.3.2).
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if t = strings.TrimSpace(t); strings.TrimPrefix(t, "W/") == strings.TrimPrefix(tag, "W/") {
				return true
			}
		}
	}
	return false
}
