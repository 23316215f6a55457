package connector

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/connic-go/connic/internal/lenient"
)

// A Mux passes each delivery to the handler that was registered for it. Its
// [Mux.Handler] is the [http.Handler] that verifies them, with default settings;
// with others, [Mux.Deliver] is the function of a [Receiver]:
//
//	mux := connector.NewMux()
//	mux.HandleAgent(connector.KindRun, "invoices", storeInvoice)
//	mux.HandlePayload("type", "refund", refund)
//	mux.HandleItems(connector.KindLog, insertLines)
//	mux.Fallback(unexpected)
//	http.Handle("POST /hooks/connic", mux.Handler(secret))
//
// The most specific handler is called: for a payload that of a key and its value,
// then for any delivery that of its kind and agent, then that of its kind, then
// the fallback.
//
// The items of a batch are passed on like deliveries of their own, in order, but
// for a handler of [KindBatch], which has the whole. Each item has its turn,
// whatever became of the others, unless the sender has gone meanwhile, and a panic
// is an error of its item. The batch is acknowledged if all were handled.
// Otherwise the sender may repeat all of it, so a handler must tolerate an item
// that it has handled before.
//
// The methods that register handlers panic where [http.ServeMux] would: if the
// handler is nil, if there is one already, or if the kind does not exist. All
// methods are safe for concurrent use, and no lock is held while a handler runs.
type Mux struct {
	mu       sync.RWMutex
	handlers map[route]handler
	payloads []payloadRoute // in the order of their registration
	fallback func(context.Context, Delivery) error
}

// route selects deliveries by their kind and, unless it is empty, their agent.
type route struct {
	kind  Kind
	agent string
}

type payloadRoute struct {
	key, value string
	handle     func(context.Context, Delivery) error
}

// handler has exactly one of two forms.
type handler struct {
	one  func(context.Context, Delivery) error
	many func(context.Context, []Delivery) error
}

// NewMux returns a Mux without handlers. It needs a [Mux.Fallback].
func NewMux() *Mux { return &Mux{handlers: make(map[route]handler)} }

// Handler returns the [http.Handler] that verifies deliveries and passes them on:
// see the function [Handler].
func (m *Mux) Handler(secrets ...Secret) http.Handler { return Handler(m.Deliver, secrets...) }

// Handle registers the handler of all deliveries of a kind, and of all items of
// that kind.
func (m *Mux) Handle(kind Kind, handle func(ctx context.Context, d Delivery) error) {
	m.register(route{kind: kind}, handler{one: handle})
}

// HandleItems is like [Mux.Handle], and passes the items of a batch as a slice of
// at most 1,000. A delivery of its own is a slice of one.
func (m *Mux) HandleItems(kind Kind, handle func(ctx context.Context, items []Delivery) error) {
	m.register(route{kind: kind}, handler{many: handle})
}

// HandleAgent registers the handler of the deliveries and items of a kind that
// name an agent. Those of an A/B variant, which is named NAME-test-…, are included
// unless the variant has a handler of its own.
func (m *Mux) HandleAgent(kind Kind, agent string, handle func(ctx context.Context, d Delivery) error) {
	if agent == "" {
		misuse("the name of the agent is empty")
	}
	m.register(route{kind, agent}, handler{one: handle})
}

// HandlePayload registers the handler of the payloads in which a key of the
// object has a value: a text, or the JSON of any other value. The empty value
// stands for any but null. If several match, the one registered first is called.
func (m *Mux) HandlePayload(key, value string, handle func(ctx context.Context, d Delivery) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if handle == nil {
		misuse("a handler is nil")
	}
	if slices.ContainsFunc(m.payloads, func(p payloadRoute) bool { return p.key == key && p.value == value }) {
		misuse(fmt.Sprintf("two handlers of payloads with %q: %q", key, value))
	}
	m.payloads = append(m.payloads, payloadRoute{key, value, handle})
}

// Fallback registers the handler of whatever has no other: a kind that is not
// expected, or that a later version of the service adds. An empty batch is one.
// Without a fallback, no delivery is handled at all.
func (m *Mux) Fallback(handle func(ctx context.Context, d Delivery) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if handle == nil {
		misuse("the fallback is nil")
	}
	if m.fallback != nil {
		misuse("two fallbacks")
	}
	m.fallback = handle
}

func (m *Mux) register(r route, h handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch _, taken := m.handlers[r]; {
	case !slices.Contains([]Kind{KindRun, KindPayload, KindApproval, KindBatch, KindLog, KindAudit, KindUnknown}, r.kind):
		misuse(fmt.Sprintf("there is no kind %q", r.kind))
	case h.one == nil && h.many == nil:
		misuse("a handler is nil")
	case taken:
		misuse(fmt.Sprintf("two handlers of kind %q, agent %q", r.kind, r.agent))
	}
	m.handlers[r] = h
}

// misuse reports a mistake of the program, which it makes when it starts.
func misuse(text string) {
	panic("connic: connector: " + text) //nolint:forbidigo // as http.ServeMux does
}

// Deliver passes a delivery to its handler, and returns the handler's error. That
// of a batch names the items that were not handled, and counts as one marked by
// [Permanent] if all of theirs are. It is [ErrNoFallback] if there is no fallback.
func (m *Mux) Deliver(ctx context.Context, d Delivery) error {
	switch h := m.find(&d); {
	case h.one != nil:
		return h.one(ctx, d)
	case h.many != nil:
		return h.many(ctx, []Delivery{d})
	}
	return m.batch(ctx, d)
}

// find returns the handler of a delivery, which is empty for a batch that is to
// be passed on by its items.
func (m *Mux) find(d *Delivery) handler {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.fallback == nil {
		return handler{one: func(context.Context, Delivery) error { return ErrNoFallback }}
	}
	if d.Kind == KindPayload && len(m.payloads) > 0 {
		if handle := m.payload(d.Body); handle != nil {
			return handler{one: handle}
		}
	}
	for agent := d.AgentName; ; agent = base(agent) {
		if h, found := m.handlers[route{d.Kind, agent}]; found {
			return h
		}
		if agent == "" {
			break
		}
	}
	if d.Kind == KindBatch {
		return handler{}
	}
	return handler{one: m.fallback}
}

// base returns the longest name of an agent of which another can be an A/B variant,
// or "".
func base(agent string) string {
	return agent[:max(0, strings.LastIndex(agent, "-test-"))]
}

// payload returns the handler of a payload by its keys, or nil.
func (m *Mux) payload(body []byte) func(context.Context, Delivery) error {
	best := len(m.payloads)
	in := lenient.New(body)
	_ = in.Members(func(key []byte) error {
		first := slices.IndexFunc(m.payloads[:best], func(p payloadRoute) bool { return p.key == string(key) })
		raw, err := value(in)
		if first < 0 || err != nil || string(raw) == "null" {
			return err
		}
		name, content := m.payloads[first].key, text(raw)
		for i := first; i < best; i++ {
			if p := &m.payloads[i]; p.key == name && (p.value == "" || p.value == content) {
				best = i
			}
		}
		return nil
	})
	if best == len(m.payloads) {
		return nil
	}
	return m.payloads[best].handle
}
