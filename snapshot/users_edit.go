package snapshot

// put returns the trie below n with u's record put; empty says that it takes u's record
// out instead. Nodes of this edit are changed in place, others copied.
func (e *edit) put(n *userNode, hash uint64, u userRecord, empty bool, depth int) *userNode {
	if n == nil {
		if empty {
			return nil
		}
		return &userNode{edit: e, n: 1, data: appendUser(make([]byte, 0, packedSize(u)), u)}
	}
	if n.kids != nil {
		n = e.own(n)
		kid := &n.kids[(hash>>(depth*userBits))%userWidth]
		*kid = e.put(*kid, hash, u, empty, depth+1)
		if empty {
			return e.merged(n)
		}
		return n
	}
	n = e.putInLeaf(n, hash, u, empty)
	if n != nil && n.n > userLeafMax && depth < userDeepest {
		e.split(n, depth)
	}
	return n
}

func packedSize(u userRecord) int { return len(u.id) + len(u.packed) + len(u.attrs) + 12 }

// putInLeaf replaces, adds or removes one record. A record in place is replaced by
// copying the leaf, because views into the old one may be in use within this edit.
func (e *edit) putInLeaf(n *userNode, hash uint64, u userRecord, empty bool) *userNode {
	body, from, to := n.seek(hash, u.id)
	switch {
	case body == nil && empty:
		return n
	case body == nil && n.edit == e:
		n.data, n.n = appendUser(n.data, u), n.n+1
		return n
	case body == nil:
		from = len(n.data)
		to = from
	}
	next := &userNode{edit: e, n: n.n, data: make([]byte, 0, len(n.data)-(to-from)+packedSize(u))}
	next.data = append(next.data, n.data[:from]...)
	if !empty {
		next.data = appendUser(next.data, u)
	}
	next.data = append(next.data, n.data[to:]...)
	if body == nil {
		next.n++
	} else if empty {
		next.n--
	}
	if next.n == 0 {
		return nil
	}
	return next
}

// split turns a full leaf of this edit into a node of leaves.
func (e *edit) split(n *userNode, depth int) {
	kids := new([userWidth]*userNode)
	n.each(func(u userRecord) bool {
		kid := &kids[(userHash(u.id)>>(depth*userBits))%userWidth]
		if *kid == nil {
			*kid = &userNode{edit: e}
		}
		(*kid).data, (*kid).n = appendUser((*kid).data, u), (*kid).n+1
		return true
	})
	n.kids, n.data, n.n = kids, nil, 0
}

func (e *edit) own(n *userNode) *userNode {
	if n.edit == e {
		return n
	}
	kids := *n.kids
	return &userNode{edit: e, kids: &kids}
}

// merged turns a node whose leaves hold little back into one leaf.
func (e *edit) merged(n *userNode) *userNode {
	count, size := 0, 0
	for _, kid := range n.kids {
		if kid == nil {
			continue
		}
		if count, size = count+kid.n, size+len(kid.data); kid.kids != nil || count > userLeafMax/4 {
			return n
		}
	}
	if count == 0 {
		return nil
	}
	leaf := &userNode{edit: e, n: count, data: make([]byte, 0, size)}
	for _, kid := range n.kids {
		if kid != nil {
			leaf.data = append(leaf.data, kid.data...)
		}
	}
	return leaf
}

// trimmed gives back the room that leaves of this edit grew but did not fill; a whole
// state of a million users has a third too much otherwise.
func (e *edit) trim(n *userNode) {
	switch {
	case n == nil || n.edit != e:
	case n.kids != nil:
		for _, kid := range n.kids {
			e.trim(kid)
		}
	case cap(n.data) > len(n.data)+len(n.data)/8:
		n.data = append(make([]byte, 0, len(n.data)), n.data...)
	}
}
