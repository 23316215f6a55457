package cases

import "testing"

// BenchmarkCases is for profiles; ratios need rounds that alternate, as the
// command beside this package makes them.
func BenchmarkCases(b *testing.B) {
	cases, err := All()
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range cases {
		defer c.Close()
		for name, f := range map[string]func() error{"floor": c.Floor, "client": c.Client} {
			b.Run(c.Name+"/"+name, func(b *testing.B) {
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
