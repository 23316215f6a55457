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
)

const crowd = 1000

// crowdServer answers when all of the crowd have asked, as runs that take their time do.
func crowdServer(tb testing.TB) *httptest.Server {
	tb.Helper()
	var mu sync.Mutex
	waiting, gate := 0, make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		mu.Lock()
		mine := gate
		if waiting++; waiting == crowd {
			waiting, gate = 0, make(chan struct{})
			close(mine)
		}
		mu.Unlock()
		select {
		case <-mine:
			_, _ = io.WriteString(w, syncAnswer)
		case <-r.Context().Done():
		}
	}))
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// together makes as many calls as the crowd has, all of which are in flight at once.
func together(tb testing.TB, call func(context.Context) error) {
	tb.Helper()
	var callers sync.WaitGroup
	for range crowd {
		callers.Go(func() {
			if err := call(tb.Context()); err != nil {
				tb.Error(err)
			}
		})
	}
	callers.Wait()
}

// byHand is what a careful person writes with net/http.
func byHand(client *http.Client, url string) func(context.Context) error {
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
		r.Header.Set("X-Connic-Secret", string(canary))
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

func bySDK(tb testing.TB, client *http.Client, url string) func(context.Context) error {
	tb.Helper()
	c := must(connector.New(url, canary, connector.WithMaxInFlight(crowd), connector.WithHTTPClient(client)))(tb)
	return func(ctx context.Context) error {
		_, err := c.Call(ctx, connector.Input{Message: "hello"})
		return err
	}
}

func pooled() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: crowd}}
}

// BenchmarkThousandCalls compares a thousand calls at once with net/http by hand.
func BenchmarkThousandCalls(b *testing.B) {
	for _, name := range []string{"net/http", "connector"} {
		b.Run(name, func(b *testing.B) {
			server := crowdServer(b)
			client := pooled()
			defer client.CloseIdleConnections()
			call := byHand(client, server.URL+"/x")
			if name == "connector" {
				call = bySDK(b, client, server.URL+"/x")
			}
			together(b, call) // dials
			b.ReportAllocs()
			for b.Loop() {
				together(b, call)
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/crowd, "us/call")
		})
	}
}

// TestAThousandCallsAtOnce: they allocate at most half as much again as net/http by hand,
// both ends of the connections included.
func TestAThousandCallsAtOnce(t *testing.T) { //nolint:paralleltest // it measures the heap
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	measure := func(with func(*http.Client, string) func(context.Context) error) (bytes uint64) {
		server := crowdServer(t)
		client := pooled()
		defer client.CloseIdleConnections()
		call := with(client, server.URL+"/x")
		together(t, call)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		together(t, call)
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / crowd
	}
	hand := measure(byHand)
	sdk := measure(func(client *http.Client, url string) func(context.Context) error { return bySDK(t, client, url) })
	t.Logf("bytes a call, both ends: %d by hand, %d by the connector", hand, sdk)
	if float64(sdk) > 1.5*float64(hand) {
		t.Errorf("%d bytes a call, and %d by hand", sdk, hand)
	}
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
