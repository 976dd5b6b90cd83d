package ports

import "context"

// Bus carries hints between nodes, at most once: truth lives in the store, the bus only hurries. Within one channel
// and publisher, what arrives arrives in order.
type Bus interface {
	// Publish hands payload to every subscription of channel, on all nodes, this one included. It never waits for a
	// network; what cannot be handed over is lost, and subscribers are told with Signal.Lost where that is known.
	// payload is not changed afterwards by either side.
	Publish(ctx context.Context, channel string, payload []byte) error
	// Subscribe calls deliver for every signal of channel until cancel returns. Calls of one subscription do not
	// overlap; deliver must not block on anything but short locks, and must not call Subscribe or cancel.
	Subscribe(channel string, deliver func(Signal)) (cancel func(), err error)
}

// Signal is one hint. Lost means that hints of the channel may have been missed: compare with the store.
type Signal struct {
	Payload []byte
	Lost    bool
}
