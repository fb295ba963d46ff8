package carrier

// tunnelEnd is a pair of TEIDs of ours, one a plane.
type tunnelEnd struct{ control, user uint32 }

// register gives the bearer fresh TEIDs, beside any that it had.
func (c *Carrier) register(b *Bearer) tunnelEnd {
	c.tables.Lock()
	defer c.tables.Unlock()
	own := tunnelEnd{control: c.freeTEID()}
	c.byControl[own.control] = b
	own.user = c.freeTEID()
	c.byUser[own.user] = b
	b.own = append(b.own, own)
	return own
}

// freeTEID steps through the number space by a large odd step, so that TEIDs
// look unlike each other in a capture and come back only after 2^32 of them.
func (c *Carrier) freeTEID() uint32 {
	for {
		c.nextTEID += 0x9e3779b1
		_, control := c.byControl[c.nextTEID]
		_, user := c.byUser[c.nextTEID]
		if c.nextTEID != 0 && !control && !user {
			return c.nextTEID
		}
	}
}

// retire ends a handover: of the two tunnel ends the older goes, or the newer
// if the gateway refused it.
func (c *Carrier) retire(b *Bearer, moved bool) {
	c.tables.Lock()
	defer c.tables.Unlock()
	if len(b.own) != 2 {
		return // the bearer ended meanwhile
	}
	gone, stays := b.own[0], b.own[1]
	if !moved {
		gone, stays = stays, gone
	}
	c.drop(gone)
	b.own = []tunnelEnd{stays}
}

func (c *Carrier) drop(end tunnelEnd) {
	delete(c.byControl, end.control)
	delete(c.byUser, end.user)
}

// establish notes what the gateway gave, unless it took it back already.
func (c *Carrier) establish(b *Bearer, g granted) {
	c.tables.Lock()
	defer c.tables.Unlock()
	b.given = g
	if len(b.own) > 0 {
		c.byRemote[g.user] = b
	}
}

func (c *Carrier) unregister(b *Bearer) {
	c.tables.Lock()
	defer c.tables.Unlock()
	for _, end := range b.own {
		c.drop(end)
	}
	b.own = nil
	if c.byRemote[b.given.user] == b {
		delete(c.byRemote, b.given.user)
	}
}

// bearerByControl also returns the gateway's control TEID of the bearer, 0
// before it is known.
func (c *Carrier) bearerByControl(teid uint32) (*Bearer, uint32) {
	c.tables.RLock()
	defer c.tables.RUnlock()
	b := c.byControl[teid]
	if b == nil {
		return nil, 0
	}
	return b, b.given.control.teid
}

func (c *Carrier) bearerByUser(teid uint32) *Bearer {
	c.tables.RLock()
	defer c.tables.RUnlock()
	return c.byUser[teid]
}

func (c *Carrier) bearerByRemote(r remote) *Bearer {
	c.tables.RLock()
	defer c.tables.RUnlock()
	return c.byRemote[r]
}

// endAll ends every bearer; without those that are still being attached, if
// establishedOnly.
func (c *Carrier) endAll(why error, establishedOnly bool) {
	c.tables.RLock()
	all := make([]*Bearer, 0, len(c.byControl))
	for _, b := range c.byControl {
		if !establishedOnly || b.given.control.teid != 0 {
			all = append(all, b)
		}
	}
	c.tables.RUnlock()
	for _, b := range all {
		b.end(why)
	}
}
