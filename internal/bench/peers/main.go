// Peers measures clients of other services as bench measures this one: each
// relative to its own floor, with a payload of its own fields, in the same rounds.
//
//	go run -C internal/bench/peers .
//
// Each figure is relative to that floor. An exclamation mark means that a peer is
// ahead of connic.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"

	"github.com/connic-go/connic/internal/bench/cases"
	"github.com/connic-go/connic/internal/bench/measure"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// A peer is another client.
type peer struct {
	name               string
	item, page         any // payloads: plain structs with values
	itemPath, pagePath string
	newItem, newPage   func() any // what the floor decodes them into
	// open creates a client that sends through transport or, if that is nil,
	// through its own. It returns the calls and a function that closes the
	// client.
	open func(transport http.RoundTripper, url string) (calls, error)
}

// calls holds the calls of a client. Each verifies its result. notFound returns
// the message of the error.
type calls struct {
	get, list func() error
	notFound  func() string
	done      func()
}

const (
	base    = "https://api.example.com"
	missing = "Not found: no such item"
	auth    = "Bearer token-of-the-benchmark"
	text    = "The west region did best in the third quarter, with 72300 in all, and the north came second. "
)

var errAnswer = errors.New("the answer is not what was sent")

// A contest is one benchmark: floors and clients in turn, ours first.
type contest struct {
	name  string
	who   []string
	calls []func() error
	out   []string // peers that cannot be compared
}

var contests = [...]string{"GET 1 KB, memory", "list of 100, memory", "404 with its message, memory"}

func allPeers() []peer { return []peer{gitLab(), gitHub(), digitalOcean()} }

// allContests returns the benchmarks in memory.
func allContests(peers []peer) ([]contest, error) {
	table := make([]contest, len(contests))
	missing, err := cases.NotFound()
	if err != nil {
		return nil, err
	}
	// The peers read their own payloads, which are in the plain form.
	for i, own := range []cases.Case{cases.Get(cases.Forms[0]), cases.List(cases.Forms[0]), missing} {
		table[i] = contest{name: contests[i], who: []string{"connic"}, calls: []func() error{own.Floor, own.Client}}
	}
	for _, p := range peers {
		theirs, err := p.contests()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		for i := range table {
			if err := theirs[i][1](); err != nil {
				table[i].out = append(table[i].out, fmt.Sprintf("%-22s %v", p.name, err))
				continue
			}
			table[i].who, table[i].calls = append(table[i].who, p.name), append(table[i].calls, theirs[i]...)
		}
	}
	return table, nil
}

func run() error {
	peers := allPeers()
	table, err := allContests(peers)
	if err != nil {
		return err
	}
	fmt.Printf("%s, %d processors; time, bytes, allocations\n", runtime.Version(), runtime.GOMAXPROCS(0))
	for _, c := range table {
		costs, err := measure.Compare(c.calls...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println("\n" + c.name)
		own := costs[1].Over(costs[0])
		for i, name := range c.who {
			printRow(name, costs[2*i+1].Over(costs[2*i]), own)
		}
		for _, line := range c.out {
			fmt.Println(line)
		}
	}
	return concurrent(peers)
}

func printRow(name string, r, own measure.Ratio) {
	cell := func(x, own float64) string {
		if x < own {
			return fmt.Sprintf("%7.2f!", x)
		}
		return fmt.Sprintf("%7.2f ", x)
	}
	fmt.Printf("%-22s %s %s %s\n", name, cell(r.Time, own.Time), cell(r.Bytes, own.Bytes), cell(r.Allocs, own.Allocs))
}

// contests returns a floor and a client for each benchmark.
func (p *peer) contests() ([][]func() error, error) {
	ctx := context.Background()
	memory := func(status int, body any) (*measure.Floor, calls, error) {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, calls{}, err
		}
		transport := &measure.Memory{Status: status, Body: encoded}
		c, err := p.open(transport, base)
		return p.floor(transport, base), c, err
	}
	one, get, err := memory(http.StatusOK, p.item)
	if err != nil {
		return nil, err
	}
	many, list, err := memory(http.StatusOK, p.page)
	if err != nil {
		return nil, err
	}
	none, notFound, err := memory(http.StatusNotFound, map[string]string{"message": missing})
	if err != nil {
		return nil, err
	}
	return [][]func() error{
		{func() error { return one.Do(ctx, http.MethodGet, p.itemPath, nil, p.newItem()) }, get.get},
		{func() error { return many.Do(ctx, http.MethodGet, p.pagePath, nil, p.newPage()) }, list.list},
		{func() error {
			var problem *measure.StatusError
			if err := none.Do(ctx, http.MethodGet, p.itemPath, nil, p.newItem()); !errors.As(err, &problem) || problem.Message != missing {
				return errors.Join(errAnswer, err)
			}
			return nil
		}, func() error {
			if message := notFound.notFound(); message != missing {
				return fmt.Errorf("drops the message, says %q", message)
			}
			return nil
		}},
	}, nil
}

func (*peer) floor(transport http.RoundTripper, url string) *measure.Floor {
	return &measure.Floor{HTTP: &http.Client{Transport: transport}, Base: url, Authorization: auth, Problem: measure.Message}
}

// concurrent calls each client with its defaults from 64 goroutines, in turn.
func concurrent(peers []peer) error {
	const rounds = 5
	type found struct{ floor, client measure.ConcurrentCost }
	best := make([]found, 1+len(peers))
	for range rounds {
		for i := range best {
			var now found
			var err error
			if i == 0 {
				now.floor, now.client, err = cases.Concurrent(1)
			} else {
				now.floor, now.client, err = peers[i-1].concurrent()
			}
			if err != nil {
				return err
			}
			best[i].floor, best[i].client = better(best[i].floor, now.floor), better(best[i].client, now.client)
		}
	}
	fmt.Printf("\n64 goroutines, client as shipped, %d requests: time, connections\n", measure.ConcurrentRequests)
	own := float64(best[0].client.Time) / float64(best[0].floor.Time)
	for i, b := range best {
		name, mark := "connic", ""
		if i > 0 {
			name = peers[i-1].name
		}
		r := float64(b.client.Time) / float64(b.floor.Time)
		if r < own || b.client.Connections < best[0].client.Connections {
			mark = "!"
		}
		fmt.Printf("%-22s %7.2f %7d%s\n", name, r, b.client.Connections, mark)
	}
	return nil
}

func better(a, b measure.ConcurrentCost) measure.ConcurrentCost {
	if a.Time == 0 {
		return b
	}
	return measure.ConcurrentCost{Time: min(a.Time, b.Time), Connections: max(a.Connections, b.Connections)}
}

// concurrent is one round of the floor and the client.
func (p *peer) concurrent() (floor, client measure.ConcurrentCost, err error) {
	body, err := json.Marshal(p.item)
	if err != nil {
		return floor, client, err
	}
	byHand := func(url string) (call func() error, done func(), err error) {
		transport := measure.Pooled()
		f := p.floor(transport, url)
		return func() error {
			return f.Do(context.Background(), http.MethodGet, p.itemPath, nil, p.newItem())
		}, transport.CloseIdleConnections, nil
	}
	asShipped := func(url string) (call func() error, done func(), err error) {
		c, err := p.open(nil, url)
		return c.get, c.done, err
	}
	found, err := measure.Concurrent(string(body), 1, byHand, asShipped)
	if err != nil {
		return floor, client, fmt.Errorf("%s: %w", p.name, err)
	}
	return found[0], found[1], nil
}

// repeat creates a page from an item.
func repeat[T any](item T) []T {
	items := make([]T, 100)
	for i := range items {
		items[i] = item
	}
	return items
}
