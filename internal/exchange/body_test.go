package exchange

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

func TestBuffersGrowWithinTheLimit(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 100, 1023, 1024, 1025, 5000, 1 << 20} {
		content := bytes.Repeat([]byte("x"), size)
		for _, hint := range []int{1, 1024, size, size + 1} {
			b := &buffer{b: make([]byte, 0, hint)}
			if err := b.readFrom(io.MultiReader(bytes.NewReader(content)), int64(size)); err != nil || !bytes.Equal(b.b, content) {
				t.Errorf("%d bytes into %d: %v, %d bytes", size, hint, err, len(b.b))
			}
			if size > 0 {
				b = &buffer{b: make([]byte, 0, max(hint, 4096))}
				if err := b.readFrom(bytes.NewReader(content), int64(size-1)); !errors.As(err, new(*TooLarge)) {
					t.Errorf("%d bytes into %d with a limit of one less: %v", size, hint, err)
				}
			}
		}
	}
}
