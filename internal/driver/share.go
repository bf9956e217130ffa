package driver

import "sync"

// shared are the nodes that dialled associations of this process use together, by what their sockets are: the same local
// locators and options make the same node.
var shared struct {
	mu    sync.Mutex
	nodes map[any]*Node
}

// Shared returns the node with that key, made by open if there is none. The caller is a user of it and must Release it.
// open gets the function to set as Config.OnClose.
func Shared(key any, open func(onClose func()) (*Node, error)) (*Node, error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if n := shared.nodes[key]; n != nil && n.Retain() {
		return n, nil
	}
	var n *Node
	n, err := open(func() { forget(key, &n) })
	if err != nil {
		return nil, err
	}
	if shared.nodes == nil {
		shared.nodes = make(map[any]*Node)
	}
	shared.nodes[key] = n
	return n, nil
}

// forget drops a closed node, unless another took its place already.
func forget(key any, n **Node) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.nodes[key] == *n {
		delete(shared.nodes, key)
	}
}
