package cases

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/bench/measure"
)

const (
	pageCount = 100
	pageItems = 100
)

// pagedTransport returns the pages of a list, each with different ids. They are
// created in advance, because its allocations would count for both sides.
type pagedTransport struct{ pages [pageCount]measure.Memory }

func newPagedTransport() *pagedTransport {
	t := new(pagedTransport)
	last := worst.list(pageItems)
	more := strings.Replace(last, `"has_more":false`, `"has_more":true`, 1)
	for i := range t.pages {
		body := more
		if i == pageCount-1 {
			body = last
		}
		own := fmt.Sprintf("%04d%s", i, runID[4:8])
		t.pages[i] = measure.Memory{Status: http.StatusOK, Body: []byte(strings.ReplaceAll(body, runID[:8], own))}
	}
	return t
}

// RoundTrip implements [http.RoundTripper].
func (t *pagedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	page := 0
	if _, offset, ok := strings.Cut(r.URL.RawQuery, "offset="); ok {
		n, err := strconv.Atoi(offset)
		if err != nil {
			return nil, err
		}
		page = n / pageItems
	}
	return t.pages[page].RoundTrip(r)
}

// pages iterates over 10,000 items on 100 pages.
func pages() (Case, error) {
	ctx := context.Background()
	f, client, err := bothOn(newPagedTransport())
	return Case{
		Name: "10,000 items on 100 pages",
		Floor: func() error {
			for n := 0; ; n += pageItems {
				var page floorPage[floorTokens]
				if err := f.Do(ctx, http.MethodGet, "/projects/p/runs?limit=100&offset="+strconv.Itoa(n), nil, &page); err != nil {
					return err
				}
				if !page.HasMore {
					return nil
				}
			}
		},
		Client: func() error { return iterate(ctx, client, func(int) {}) },
	}, err
}

// iterate reads all items, and calls visit with the number of each.
func iterate(ctx context.Context, client *connic.Client, visit func(n int)) error {
	n := 0
	for _, err := range client.Runs.All(ctx, nil) {
		if err != nil {
			return err
		}
		n++
		visit(n)
	}
	if n != pageCount*pageItems {
		return fmt.Errorf("%w: %d items", errAnswer, n)
	}
	return nil
}

// LivePages returns how many bytes are in use for one page of a list that is
// retained, and the maximum during an iteration over all pages, measured after
// a garbage collection every 500 items.
func LivePages() (one, most uint64, err error) {
	ctx := context.Background()
	_, client, err := bothOn(newPagedTransport())
	if err != nil {
		return 0, 0, err
	}
	if err := iterate(ctx, client, func(int) {}); err != nil { // fills pools and caches
		return 0, 0, err
	}
	start := measure.Live()
	page, err := client.Runs.List(ctx, &connic.RunListParams{Limit: pageItems})
	if err != nil {
		return 0, 0, err
	}
	one = measure.Live() - start
	runtime.KeepAlive(page)
	start = measure.Live()
	err = iterate(ctx, client, func(n int) {
		if n%500 == 50 { // in the middle of a page
			most = max(most, measure.Live()-start)
		}
	})
	return one, most, err
}
