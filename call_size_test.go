package connic

import (
	"testing"
	"unsafe"
)

// A call with a pointer result fills its size class of 896 bytes: an object with
// pointers has a header of 8 bytes. Eight bytes more cost each call 128.
func TestCallsFillTheirSizeClass(t *testing.T) {
	t.Parallel()
	if size := unsafe.Sizeof(typedCall[*Run]{}); size > 888 {
		t.Errorf("a call has %d bytes", size)
	}
}
