package vendorcli

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/connic-go/connic/internal/api"
)

// terminal opens a pseudoterminal.
func terminal() (master, slave *os.File, err error) {
	if master, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		return nil, nil, err
	}
	var number, unlocked int32
	for request, argument := range map[uintptr]*int32{syscall.TIOCGPTN: &number, syscall.TIOCSPTLCK: &unlocked} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(argument))); errno != 0 {
			return nil, nil, errno
		}
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	return master, slave, err
}

// offered skips a test of an operation that is not in the table.
func offered(t *testing.T, name string) {
	t.Helper()
	for _, o := range api.Table {
		if o.Name == name {
			return
		}
	}
	t.Skipf("the table has no operation %s", name)
}
