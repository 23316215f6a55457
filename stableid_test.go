package connic_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// TestAStableIDGoesOutForItsOwnContentOnly changes a file after its id was
// derived: to another content of the same size, a shorter and a longer one.
func TestAStableIDGoesOutForItsOwnContentOnly(t *testing.T) {
	t.Parallel()
	for name, sized := range map[string]bool{"of a known size": true, "of an unknown size": false} {
		for _, change := range []string{"B text", "B", "a text and more", ""} {
			content, opened := "a text", 0
			file := connic.FileSource{Name: "a.txt", Open: func() (io.Reader, error) {
				if opened++; opened == 3 { // inspected, hashed, sent
					content = change
				}
				r := io.Reader(strings.NewReader(content))
				if !sized {
					r = struct{ io.Reader }{r}
				}
				return r, nil
			}}
			srv := connictest.New()
			_, err := srv.Client(connic.WithEnvironment("env-production"), quick).Knowledge.UploadFile(t.Context(), connic.FileUpload{File: file, StableID: true})
			var argument *connic.ArgumentError
			// If a file grew, the part that the id belongs to is sent.
			grew := sized && strings.HasPrefix(change, "a text")
			if grew != (err == nil) || (!grew && (!errors.As(err, &argument) || srv.Executions("knowledge.upload_file") != 0)) {
				t.Errorf("%s, %q: %v after %d openings", name, change, err, opened)
			}
			if opened > 4 {
				t.Errorf("%s, %q: it was opened %d times", name, change, opened)
			}
			srv.Close()
		}
	}
}
