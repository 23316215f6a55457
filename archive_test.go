package connic_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// tarball packs files as another program would.
func tarball(files map[string]string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(files[name])), Mode: 0o600, ModTime: time.Now()}
		if target, ok := strings.CutPrefix(files[name], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, target, 0
		}
		_ = w.WriteHeader(h)
		if h.Size > 0 {
			_, _ = io.WriteString(w, files[name])
		}
	}
	_ = w.Close()
	_ = z.Close()
	return b.Bytes()
}

func archiveOf(b []byte) connic.FileSource {
	return connic.ReaderAtFile("project.tar.gz", bytes.NewReader(b), int64(len(b)))
}

// received returns the archive that a client of the fake sent last.
func received(t *testing.T, srv *connictest.Server) []byte {
	t.Helper()
	requests := srv.Requests()
	var body struct {
		Data []byte `json:"files_data"`
		Hash string `json:"files_hash"`
	}
	if err := json.Unmarshal(requests[len(requests)-1].Body, &body); err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(body.Data); body.Hash != hex.EncodeToString(sum[:])[:12] {
		t.Errorf("the hash is %s", body.Hash)
	}
	return body.Data
}

func unpacked(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	files := make(map[string]string)
	r := tar.NewReader(must[*gzip.Reader](t)(gzip.NewReader(bytes.NewReader(archive))))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(must[[]byte](t)(io.ReadAll(r)))
	}
}

func TestUploadFSPacksWhatBelongsToAProject(t *testing.T) {
	t.Parallel()
	srv := connictest.New()
	t.Cleanup(srv.Close)
	want := map[string]string{
		"agents/support.yaml": "name: support", "agents/sub/other.yaml": "x", "connectors/nightly.yaml": "type: cron", "tests/builders/b.py": "", "tools/t.py": "def t(): ...", "requirements.txt": "",
		"middleware/m.PY": "m", "schemas/s.json": "{}", "guardrails/g.toml": "", "hooks/h.md": "h", "tests/a.yaml": "a",
		"tests/files/scan.pdf": "%PDF", "tests/files/deep/x.bin": "\x00", "agents/" + strings.Repeat("long", 40) + "/ä.yaml": "long",
	}
	tree := make(fstest.MapFS)
	for name, content := range want {
		tree[name] = &fstest.MapFile{Data: []byte(content), ModTime: time.Now()}
	}
	for _, name := range []string{
		".env", ".git/config", "README.md", "node_modules/x.js", "agents/.hidden.yaml", "agents/__pycache__/x.pyc", "tests/.venv/x", "tools/t.pyc", "tests/files/t.pyc", "tools/my__pycache__2/x.py", "connectors.yaml", "main.go", "tests/files/.DS_Store",
	} {
		tree[name] = &fstest.MapFile{Data: []byte("secret")}
	}
	must[*connic.Deployment](t)(srv.Client().Deployments.UploadFS(t.Context(), tree, nil))
	first := received(t, srv)
	if got := unpacked(t, first); !maps.Equal(got, want) {
		t.Errorf("it packed %q, want %q", got, want)
	}

	// The same tree on disk, with other times and modes, produces the same
	// archive.
	dir := t.TempDir()
	if err := os.CopyFS(dir, tree); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir+"/tools/t.py", 0o700); err != nil {
		t.Fatal(err)
	}
	must[*connic.Deployment](t)(srv.Client().Deployments.UploadFS(t.Context(), os.DirFS(dir), nil))
	if !bytes.Equal(received(t, srv), first) {
		t.Error("the same tree made another archive")
	}
}

func TestProjectsThatBreakTheRules(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 5<<20)
	noise := make([]byte, 25<<20) // incompressible
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	tests := map[string]struct {
		files map[string]string // "-> x" is a symbolic link
		want  []string          // in the error
		only  string            // "tree" or "archive" if it can happen only there
	}{
		"every file is named": {
			files: map[string]string{"agents/a.exe": "x", "tools/noending": "x", "tests/b.bin": "x", "agents/ok.yaml": "x", "hooks/link.py": "-> ../x"},
			want:  []string{"agents/a.exe has an ending", "tools/noending has an ending", "tests/b.bin has an ending", "hooks/link.py is a symbolic link"},
		},
		"a link to a folder": {files: map[string]string{"agents": "-> elsewhere", "tools/a.py": "x"}, want: []string{"agents is a symbolic link"}},
		"what the service does not read": {
			files: map[string]string{"agents/a.yml": "x", "agents/b.YML": "x", "tests/builders/c.json": "x", "tests/builders/D.PY": "x", "agents/ok.PY": "x", "tests/builders/ok.py": "x"},
			want:  []string{"agents/a.yml ends with .yml", "agents/b.YML ends with .yml", "tests/builders/c.json does not end with .py", "tests/builders/D.PY does not end with .py"},
		},
		"25 MiB in all": {files: map[string]string{"tests/files/a.bin": strings.Repeat("x", 25<<20)}},
		"more than 25 MiB in all": {
			files: map[string]string{"tests/files/a.bin": strings.Repeat("x", 25<<20), "tests/files/b.bin": "x"},
			want:  []string{"all files together are 26214401 bytes, more than 26214400"},
		},
		"what is left out of a folder": {
			files: map[string]string{"agents/.env": "x", "tests/.git/config": "x", "tools/t.pyc": "x", "tools/__pycache__/x.py": "x"}, only: "archive",
			want: []string{"agents/.env is hidden", "tests/.git/config is hidden", "tools/t.pyc is compiled", "tools/__pycache__/x.py is compiled"},
		},
		"5 MiB of code": {files: map[string]string{"agents/a.txt": big}},
		"more than that": {
			files: map[string]string{"agents/a.txt": big, "requirements.txt": "x"},
			want:  []string{"outside tests/files/ are 5242881 bytes, more than 5242880"},
		},
		"files of tests do not count": {files: map[string]string{"agents/a.txt": big, "tests/files/a.bin": big}},
		"25 MiB of archive":           {files: map[string]string{"tests/files/a.bin": string(noise[:24<<20])}},
		"more than 25 MiB":            {files: map[string]string{"tests/files/a.bin": string(noise)}, want: []string{"the tar.gz is more than 26214400 bytes"}},
		"nothing at all":              {files: map[string]string{}, want: []string{"has no"}},
		"nothing that belongs": {
			files: map[string]string{"README.md": "x"}, want: []string{"has nothing to deploy"}, only: "tree",
		},
		"other folders": {
			files: map[string]string{"README.md": "x", "docs/a.md": "x", "agents/a.yaml": "x"}, only: "archive",
			want: []string{"README.md is neither requirements.txt nor in one of the folders", "docs/a.md is neither"},
		},
		"outside the root": {files: map[string]string{"../a.py": "x"}, want: []string{"../a.py is outside"}, only: "archive"},
	}
	for name, test := range tests {
		if size := 0; raceDetector {
			for _, content := range test.files {
				size += len(content)
			}
			if size > 1<<20 {
				continue // to pack it takes half a minute with the race detector
			}
		}
		tree := make(fstest.MapFS)
		for file, content := range test.files {
			tree[file] = &fstest.MapFile{Data: []byte(content)}
			if strings.HasPrefix(content, "-> ") {
				tree[file].Mode = fs.ModeSymlink
			}
		}
		archive := tarball(test.files)
		for way, upload := range map[string]func(c *connic.Client) error{
			"tree": func(c *connic.Client) error {
				_, err := c.Deployments.UploadFS(t.Context(), tree, nil)
				return err
			},
			"archive": func(c *connic.Client) error {
				_, err := c.Deployments.Upload(t.Context(), archiveOf(archive), nil)
				return err
			},
			"test run of a tree": func(c *connic.Client) error {
				_, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: tree})
				return err
			},
			"test run of an archive": func(c *connic.Client) error {
				_, err := c.TestRuns.Create(t.Context(), connic.TestRunCreate{Archive: archiveOf(archive)})
				return err
			},
		} {
			if test.only != "" && !strings.HasSuffix(way, test.only) {
				continue
			}
			if strings.Contains(name, "25 MiB") && strings.HasPrefix(way, "test run") {
				continue // both ways are those of the deployments
			}
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				srv := connictest.New()
				defer srv.Close()
				err := upload(srv.Client(connic.WithTimeout(time.Hour)))
				var bad *connic.ArgumentError
				if len(test.want) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				if !errors.As(err, &bad) || len(srv.Requests()) != 0 {
					t.Fatalf("%d requests, and %v", len(srv.Requests()), err)
				}
				for _, want := range test.want {
					if len(test.files) == 0 {
						want = "has no"
					}
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%v\nlacks %q", err, want)
					}
				}
				var broken *connic.ArchiveError
				if errors.As(err, &broken) && len(broken.Problems) != len(test.want) {
					t.Errorf("there are %d problems: %v", len(broken.Problems), broken.Problems)
				}
			})
		}
	}
}

func TestArchivesThatAreNone(t *testing.T) {
	t.Parallel()
	good := tarball(map[string]string{"agents/a.yaml": strings.Repeat("name: a\n", 1000)})
	srv := connictest.New()
	t.Cleanup(srv.Close)
	c := srv.Client()
	for name, source := range map[string]connic.FileSource{
		"no archive": archiveOf([]byte("PK\x03\x04")), "empty": archiveOf(nil), "cut": archiveOf(good[:len(good)/2]),
		"without its end": archiveOf(good[:len(good)-1]), "missing": connic.LocalFile("testdata/nowhere.tar.gz"), "none": {},
	} {
		_, err := c.Deployments.Upload(t.Context(), source, nil)
		var bad *connic.ArgumentError
		if !errors.As(err, &bad) || len(srv.Requests()) != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := c.Deployments.UploadFS(t.Context(), nil, nil)
	refused(t, "no tree", err, "deployments.upload", "project is nil")
	_, err = c.TestRuns.Create(t.Context(), connic.TestRunCreate{})
	refused(t, "no project", err, "test_runs.create", "project is nil")
	_, err = c.TestRuns.Create(t.Context(), connic.TestRunCreate{Project: project, Archive: archiveOf(good)})
	refused(t, "both", err, "test_runs.create", "together with an archive")
}

// TestP6UploadsAreStreamed measures how much the heap grows while a tree of nearly
// 25 MiB is uploaded: refused from the middle of the body, and sent again.
func TestP6UploadsAreStreamed(t *testing.T) { //nolint:paralleltest // it measures the heap
	if raceDetector {
		t.Skip("the race detector allocates too")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/tests/files", 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		noise := make([]byte, 6<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(noise)
		if err := os.WriteFile(dir+"/tests/files/"+string(rune('a'+i)), noise, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var sizes []int64
	var hashes []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		body := io.TeeReader(r.Body, h)
		mu.Lock()
		first := len(sizes) == 0
		mu.Unlock()
		var n int64
		if first { // refused after 8 MiB
			n, _ = io.CopyN(io.Discard, body, 8<<20)
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusTooManyRequests)
		} else {
			n, _ = io.Copy(io.Discard, body)
			_, _ = io.WriteString(w, `{"id": "d1"}`)
		}
		mu.Lock()
		defer mu.Unlock()
		sizes, hashes = append(sizes, n), append(hashes, hex.EncodeToString(h.Sum(nil)))
	}))
	defer srv.Close()
	c := newClient(t, srv.URL, connic.WithLimiter(open{}), connic.WithEnvironment("e-1"))
	var d *connic.Deployment
	var err error
	growth := heapGrowth(func() { d, err = c.Deployments.UploadFS(t.Context(), os.DirFS(dir), nil) })
	if err != nil || d.ID != "d1" {
		t.Fatal(err)
	}
	want := int64(base64.StdEncoding.EncodedLen(24 << 20))
	if len(sizes) != 2 || sizes[0] != 8<<20 || sizes[1] < want || sizes[1] > want+want/100 {
		t.Errorf("the attempts sent %d bytes", sizes)
	}
	t.Logf("the heap grew by %d KiB", growth>>10)
	if growth > 4<<20 {
		t.Errorf("the heap grew by %d bytes", growth)
	}
}

// A tree that changes during the upload must not be sent half old and half new.
// It is packed again, but not endlessly.
func TestATreeThatChangesWhileItIsSent(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{"shorter": "x", "longer": "a longer text", "other": "b TEXT"} {
		for _, once := range []bool{true, false} {
			tree := fstest.MapFS{"agents/a.yaml": {Data: []byte("a text")}}
			srv := connictest.New()
			srv.Fault(connictest.Fault{Op: "deployments.upload", Times: -1, Status: 429})
			changes := 0
			c := srv.Client(connic.WithLimiter(open{}), connic.WithObserver(func(_ context.Context, e connic.Event) {
				if e.Kind != connic.EventRetry {
					return
				}
				if changes++; once {
					srv.ClearFaults()
				}
				tree["agents/a.yaml"].Data = []byte(change)
				change += "."
			}), quick)
			_, err := c.Deployments.UploadFS(t.Context(), tree, nil)
			switch {
			case once && (err != nil || srv.Executions("deployments.upload") != 1 || changes != 1):
				t.Errorf("%s, once: %v after %d changes", name, err, changes)
			case once:
				if got := unpacked(t, received(t, srv))["agents/a.yaml"]; got != strings.TrimSuffix(change, ".") {
					t.Errorf("%s: it sent %q", name, got)
				}
			case err == nil || !strings.Contains(err.Error(), "agents/a.yaml") || srv.Executions("deployments.upload") != 0 || changes != 3:
				t.Errorf("%s, each time: %v after %d changes", name, err, changes)
			case errors.Is(err, connic.ErrOutcomeUnknown):
				t.Errorf("%s: nothing can have been executed: %v", name, err)
			}
			if !once {
				_, err = c.Deployments.UploadFS(t.Context(), fstest.MapFS{"agents/a.yaml": {Data: []byte("a")}}, nil, connic.WithMaxAttempts(1))
				if !errors.Is(err, connic.ErrRateLimited) {
					t.Error(err)
				}
			}
			srv.Close()
		}
	}
}
