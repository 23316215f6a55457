package doctor

import (
	"io/fs"
	"testing/fstest"
)

// project is one that can be deployed.
type project struct{}

func (project) fs() fs.FS {
	return fstest.MapFS{"agents/" + canary + ".yaml": {Data: []byte("name: " + canary)}}
}
