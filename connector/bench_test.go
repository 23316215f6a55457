package connector_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/connic-go/connic/connector"
	"github.com/connic-go/connic/connictest"
)

const callers = 1000

// gate holds all callers until the last has come, as runs that take their time do.
type gate struct {
	full func() // called when all have come, before they go on; may be nil

	mu      sync.Mutex
	waiting int
	open    chan struct{}
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	mine := g.open
	if g.waiting++; g.waiting == callers {
		g.waiting, g.open = 0, nil
		if g.full != nil {
			g.full()
		}
		close(mine)
	}
	g.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// target is what is called.
type target struct {
	name string
	// serve serves it; the calls go on when the gate opens.
	serve func(tb testing.TB, g *gate) (url string, secret connector.Secret)
}

var targets = []target{{"plain server", plainServer}, {"fake", fakeServer}}

// plainServer answers with a constant.
func plainServer(tb testing.TB, g *gate) (string, connector.Secret) {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if g.pass(r.Context()) == nil {
			_, _ = io.WriteString(w, syncAnswer)
		}
	}))
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL + "/x", canary
}

// fakeServer is a sync connector of the fake, with an agent.
func fakeServer(tb testing.TB, g *gate) (string, connector.Secret) {
	tb.Helper()
	fake := connictest.Start()
	tb.Cleanup(fake.Close)
	fake.Agent("a", func(ctx context.Context, in connictest.Input) (any, error) { return in.Message, g.pass(ctx) })
	hook := fake.Connector("a")
	return hook.URL(), hook.Secret()
}

// together makes one call for each caller, all of which are in flight at once.
func together(tb testing.TB, call func(context.Context) error) {
	tb.Helper()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			if err := call(tb.Context()); err != nil {
				tb.Error(err)
			}
		})
	}
	group.Wait()
}

// byHand is what a careful person writes with net/http.
func byHand(_ testing.TB, client *http.Client, url string, secret connector.Secret) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := json.Marshal(map[string]string{"message": "hello"})
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Connic-Secret", string(secret))
		resp, err := client.Do(r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var answer struct {
			Result struct {
				RunID  string `json:"run_id"`
				Output string `json:"output"`
			}
		}
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
}

func bySDK(tb testing.TB, client *http.Client, url string, secret connector.Secret) func(context.Context) error {
	tb.Helper()
	c := must(connector.New(url, secret, connector.WithMaxInFlight(callers), connector.WithHTTPClient(client)))(tb)
	return func(ctx context.Context) error {
		_, err := c.Call(ctx, connector.Input{Message: "hello"})
		return err
	}
}

func pooled() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
}

var sides = []struct {
	name string
	call func(testing.TB, *http.Client, string, connector.Secret) func(context.Context) error
}{{"net/http", byHand}, {"connector", bySDK}}

// BenchmarkThousandCalls compares a thousand calls at once with net/http by hand, on a
// server that answers with a constant and on the fake.
func BenchmarkThousandCalls(b *testing.B) {
	for _, on := range targets {
		for _, side := range sides {
			b.Run(on.name+"/"+side.name, func(b *testing.B) {
				url, secret := on.serve(b, new(gate))
				client := pooled()
				defer client.CloseIdleConnections()
				call := side.call(b, client, url, secret)
				together(b, call) // dials
				b.ReportAllocs()
				for b.Loop() {
					together(b, call)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/callers, "us/call")
			})
		}
	}
}

// TestAThousandCallsAtOnce: they allocate at most half as much again as net/http by hand,
// and hold at most a fifth more of the heap while all are in flight, both ends of the connections
// included.
func TestAThousandCallsAtOnce(t *testing.T) { //nolint:paralleltest // it measures the heap
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	for _, on := range targets {
		var allocated, held [2]uint64
		for i, side := range sides {
			g := new(gate)
			url, secret := on.serve(t, g)
			client := pooled()
			call := side.call(t, client, url, secret)
			together(t, call)
			for range 3 { // a collection that empties pools is no cost of a call
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				together(t, call)
				runtime.ReadMemStats(&after)
				if n := (after.TotalAlloc - before.TotalAlloc) / callers; allocated[i] == 0 || n < allocated[i] {
					allocated[i] = n
				}
			}

			idle, full := live(), uint64(0)
			g.full = func() { full = live() }
			together(t, call)
			held[i] = (full - min(idle, full)) / callers
			client.CloseIdleConnections()
		}
		t.Logf("%s: bytes a call, both ends: %d allocated by hand, %d by the connector; held in flight: %d, %d",
			on.name, allocated[0], allocated[1], held[0], held[1])
		if float64(allocated[1]) > 1.5*float64(allocated[0]) {
			t.Errorf("%s: %d bytes a call, and %d by hand", on.name, allocated[1], allocated[0])
		}
		if float64(held[1]) > 1.2*float64(held[0]) {
			t.Errorf("%s: %d bytes are held by a call in flight, and %d by hand", on.name, held[1], held[0])
		}
	}
}

// live is the heap after two collections: the first leaves what is pooled.
func live() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var megabyte = bytes.Repeat([]byte("0123456789abcdef"), 1<<16)

// BenchmarkVerify compares the check of a delivery of 1 MB with the HMAC alone.
func BenchmarkVerify(b *testing.B) {
	b.Run("HMAC", func(b *testing.B) {
		b.SetBytes(int64(len(megabyte)))
		for b.Loop() {
			h := hmac.New(sha256.New, []byte(signing))
			h.Write(megabyte)
			h.Sum(nil)
		}
	})
	b.Run("Verify", func(b *testing.B) {
		header := connector.Sign(megabyte, time.Now(), signing)
		b.SetBytes(int64(len(megabyte)))
		b.ReportAllocs()
		for b.Loop() {
			if err := connector.Verify(header, megabyte, signing); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestVerifyDoesNotCopy: what it allocates does not depend on the body.
func TestVerifyDoesNotCopy(t *testing.T) { //nolint:paralleltest // it measures the heap
	header := connector.Sign(megabyte, time.Now(), signing)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		if err := connector.Verify(header, megabyte, signing); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if each := (after.TotalAlloc - before.TotalAlloc) / 100; each > 4<<10 {
		t.Errorf("%d bytes a check", each)
	}
}

func ExampleVerify() {
	body := []byte(`{"run_id": "run-1", "status": "completed", "output": "done"}`)
	header := connector.Sign(body, time.Now(), "whsec-0123456789")
	fmt.Println(connector.Verify(header, body, "whsec-new", "whsec-0123456789"))
	fmt.Println(connector.Verify(header, append(body, ' '), "whsec-0123456789"))
	// Output:
	// <nil>
	// connic: connector: the signature does not belong to the body and the secret
}
