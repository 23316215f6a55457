package main

import "testing"

func BenchmarkPairs(b *testing.B) {
	pairs, err := memoryPairs()
	if err != nil {
		b.Fatal(err)
	}
	loopback, err := wirePair()
	if err != nil {
		b.Fatal(err)
	}
	defer loopback.close()
	for _, p := range append(pairs, loopback) {
		for name, f := range map[string]func() error{"floor": p.floor, "client": p.sdk} {
			b.Run(p.name+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
