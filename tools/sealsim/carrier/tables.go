package carrier

// tunnelEnd is a pair of TEIDs of ours, one a plane.
type tunnelEnd struct{ control, user uint32 }

// ownEnd is a tunnelEnd at the node that has it.
type ownEnd struct {
	tunnelEnd
	at *Carrier
}

// register gives the bearer fresh TEIDs here, beside any that it had.
func (c *Carrier) register(b *Bearer) tunnelEnd {
	b.mu.Lock()
	defer b.mu.Unlock()
	c.tables.Lock()
	defer c.tables.Unlock()
	own := tunnelEnd{control: c.freeTEID()}
	if b.gone {
		return own
	}
	c.byControl[own.control] = b
	own.user = c.freeTEID()
	c.byUser[own.user] = b
	b.own = append(b.own, ownEnd{own, c})
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

// drop forgets a tunnel end.
func (e ownEnd) drop() {
	e.at.tables.Lock()
	defer e.at.tables.Unlock()
	delete(e.at.byControl, e.control)
	delete(e.at.byUser, e.user)
}

// newest is the tunnel end that the gateway was told of last.
func (b *Bearer) newest() tunnelEnd {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.own) == 0 {
		return tunnelEnd{} // the bearer ended meanwhile
	}
	return b.own[len(b.own)-1].tunnelEnd
}

// retire ends a handover: of the two tunnel ends the older goes, or the newer
// if the gateway refused it.
func (b *Bearer) retire(moved bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.own) != 2 {
		return // the bearer ended meanwhile
	}
	gone, stays := b.own[0], b.own[1]
	if !moved {
		gone, stays = stays, gone
	}
	gone.drop()
	b.own = []ownEnd{stays}
}

// follow notes where the gateway's ends are and who serves the bearer, unless
// the gateway took it back already.
func (b *Bearer) follow(p path) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.path.Load(); old != nil {
		old.carrier.forget(old.user, b)
	}
	b.path.Store(&p)
	if b.gone {
		return
	}
	p.carrier.tables.Lock()
	defer p.carrier.tables.Unlock()
	p.carrier.byRemote[p.user] = b
}

func (c *Carrier) forget(r remote, b *Bearer) {
	c.tables.Lock()
	defer c.tables.Unlock()
	if c.byRemote[r] == b {
		delete(c.byRemote, r)
	}
}

// unregister takes the bearer out of the tables of every node.
func (b *Bearer) unregister() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = true
	for _, end := range b.own {
		end.drop()
	}
	b.own = nil
	if p := b.path.Load(); p != nil {
		p.carrier.forget(p.user, b)
	}
}

// bearerByControl also returns the gateway's control TEID of the bearer, 0
// before it is known. It finds only bearers of the version of GTP.
func (c *Carrier) bearerByControl(teid uint32, v1 bool) (*Bearer, uint32) {
	c.tables.RLock()
	b := c.byControl[teid]
	c.tables.RUnlock()
	if b == nil {
		return nil, 0
	}
	p := b.path.Load()
	if p == nil {
		return b, 0
	}
	if p.v1 != v1 {
		return nil, 0
	}
	return b, p.control.teid
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

// endAll ends every bearer that is wanted.
func (c *Carrier) endAll(why error, wanted func(*Bearer) bool) {
	c.tables.RLock()
	all := make([]*Bearer, 0, len(c.byControl))
	for _, b := range c.byControl {
		if wanted(b) {
			all = append(all, b)
		}
	}
	c.tables.RUnlock()
	for _, b := range all {
		b.end(why)
	}
}
