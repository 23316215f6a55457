package connictest_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connictest"
)

// tarred is a tar.gz of empty or zero files.
func tarred(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var buffer bytes.Buffer
	zipped := gzip.NewWriter(&buffer)
	packed := tar.NewWriter(zipped)
	for _, h := range headers {
		if err := packed.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := packed.Write(make([]byte, h.Size)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(packed.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// uploadBody is the body of the upload of an archive.
func uploadBody(t *testing.T, archive []byte) string {
	t.Helper()
	hash := sha256.Sum256(archive)
	body, err := json.Marshal(map[string]any{
		"files_data": base64.StdEncoding.EncodeToString(archive), "files_hash": hex.EncodeToString(hash[:])[:12], "skip_tests": true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// both uploads an archive through the client, and to the fake without a client,
// and returns the text of their refusals, which are empty if it is accepted.
func both(t *testing.T, archive []byte) (client, fake string) {
	t.Helper()
	srv := connictest.New(t)
	srv.PhaseTime(0)
	source := connic.FileSource{Name: "x.tar.gz", Open: func() (io.Reader, error) { return bytes.NewReader(archive), nil }}
	_, err := srv.Client().Deployments.Upload(t.Context(), source, &connic.UploadParams{EnvironmentID: "env-production", SkipTests: true})
	if err != nil {
		client = err.Error()
	}
	if n := srv.Executions("deployments.upload"); (n == 1) != (err == nil) || len(srv.Requests()) != n {
		t.Errorf("%d uploads, %d requests, and the client says %v", n, len(srv.Requests()), err)
	}
	status, body, _ := send(t, srv, "POST", "/deploy/upload?environment_id=env-production", string(srv.Key()), uploadBody(t, archive))
	if status != 200 {
		fake = body
	}
	return client, fake
}

// TestTheClientAndTheFakeAgreeOnArchives: each accepts what the other accepts, and
// refuses what the other refuses for the same reason.
func TestTheClientAndTheFakeAgreeOnArchives(t *testing.T) {
	t.Parallel()
	file := func(name string, size int64) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Mode: 0o644}
	}
	folder := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	global := tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "4b825dc642cb6eb9a060e54bf8d69288fbee4904"}}
	mode := func(h tar.Header, mode int64) tar.Header { h.Mode = mode; return h }
	format := func(h tar.Header, format tar.Format) tar.Header { h.Format = format; return h }
	long := "agents/" + strings.Repeat("deep/", 30) + "a.yaml"
	whole := tarred(t, file("agents/a.yaml", 1))
	for name, test := range map[string]struct {
		archive []byte
		want    string // empty: it is accepted
	}{
		"plain":             {tarred(t, file("agents/a.yaml", 1), file("connectors/nightly.yaml", 1), file("requirements.txt", 1)), ""},
		"of tar .":          {tarred(t, folder("./"), folder("./agents/"), file("./agents/a.yaml", 1), file("./requirements.txt", 1)), ""},
		"of tar . as .":     {tarred(t, folder("."), file("./agents/a.yaml", 1)), ""},
		"of git archive":    {tarred(t, global, folder("agents/"), file("agents/a.yaml", 1), folder("tests/"), folder("tests/files/"), file("tests/files/x", 1)), ""},
		"double slashes":    {tarred(t, file("agents//a.yaml", 1), file("agents/./b.yaml", 1)), ""},
		"modes":             {tarred(t, mode(folder("agents"), 0o40700), mode(file("agents/a.py", 1), 0o100755), mode(file("agents/b.py", 1), 0o4000)), ""},
		"long, GNU":         {tarred(t, format(file(long, 1), tar.FormatGNU)), ""},
		"long, PAX":         {tarred(t, format(file(long, 1), tar.FormatPAX)), ""},
		"twice":             {tarred(t, file("agents/a.yaml", 1), file("agents/a.yaml", 2)), ""},
		"any test file":     {tarred(t, file("tests/files/any.bin", 1), file("tests/builders/x.py", 1)), ""},
		"as large as can":   {tarred(t, file("tests/files/big", 24<<20), file("tools/t.py", 1<<20)), ""},
		"several gzips":     {append(tarredWithoutEnd(t, whole), tarred(t)...), ""},
		".yml":              {tarred(t, file("agents/a.yml", 1)), "ends with .yml"},
		"another ending":    {tarred(t, file("agents/a.exe", 1)), "has an ending that is none of"},
		"compiled":          {tarred(t, file("agents/a.pyc", 1)), "is compiled Python"},
		"builders":          {tarred(t, file("tests/builders/x.json", 1)), "the only extension allowed"},
		"builders, PY":      {tarred(t, file("tests/builders/x.PY", 1)), "the only extension allowed"},
		"elsewhere":         {tarred(t, file("src/main.py", 1)), "nor in one of the folders"},
		"a folder more":     {tarred(t, folder("src/"), file("agents/a.yaml", 1)), "is not one of the folders"},
		"a file as folder":  {tarred(t, file("agents", 1)), "nor in one of the folders"},
		"hidden":            {tarred(t, file("agents/.env", 1)), "is hidden"},
		"hidden folder":     {tarred(t, folder("./"), folder("./.git/"), file("./agents/a.yaml", 1)), "is hidden"},
		"above":             {tarred(t, file("agents/../../etc/x.py", 1)), "is outside the archive's root"},
		"absolute":          {tarred(t, file("/agents/x.py", 1)), "is outside the archive's root"},
		"symbolic link":     {tarred(t, tar.Header{Name: "tools/x.py", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "is a symbolic link"},
		"hard link":         {tarred(t, tar.Header{Name: "tools/x.py", Typeflag: tar.TypeLink, Linkname: "tools/y.py"}), "is a hard link"},
		"device":            {tarred(t, tar.Header{Name: "tools/x.py", Typeflag: tar.TypeChar}), "is not a regular file"},
		"control character": {tarred(t, file("agents/a\n.yaml", 1)), "control character"},
		"too much code":     {tarred(t, file("tools/x.py", 5<<20+1)), "outside tests/files"},
		"too much":          {tarred(t, file("tests/files/a", 13<<20), file("tests/files/b", 13<<20)), "all files together"},
		"nothing":           {tarred(t), "has no files"},
		"folders only":      {tarred(t, global, folder("agents/")), "has no files"},
		"no gzip":           {[]byte("agents"), "is not a complete tar.gz"},
		"cut":               {whole[:len(whole)-9], "is not a complete tar.gz"},
		"bad checksum":      {append(whole[:len(whole)-8:len(whole)-8], make([]byte, 8)...), "is not a complete tar.gz"},
	} {
		client, fake := both(t, test.archive)
		if test.want == "" && (client != "" || fake != "") || !strings.Contains(client, test.want) || !strings.Contains(fake, test.want) {
			t.Errorf("%s: the client says %q, the fake %q, want %q", name, client, fake, test.want)
		}
	}
}

// tarredWithoutEnd is an archive without the blocks that end a tar.
func tarredWithoutEnd(t *testing.T, archive []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err = w.Write(b[:len(b)-1024])
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestArchivesOfOtherPrograms uploads what tar and git make of a project.
func TestArchivesOfOtherPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"agents/support.yaml": "name: support\n", "tests/files/a.bin": "\x00", "requirements.txt": "requests\n", "tools/run.py": "#!/usr/bin/env python\n",
	} {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) []byte {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Skip(err)
		}
		command := exec.CommandContext(t.Context(), program, args...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
			"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.invalid", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.invalid")
		output, err := command.Output()
		if err != nil {
			t.Fatalf("%s %v: %v", name, args, err)
		}
		return output
	}
	archives := map[string][]byte{"tar .": run("tar", "-czf", "-", ".")}
	run("git", "init", "--quiet")
	run("git", "add", ".")
	run("git", "commit", "--quiet", "--no-verify", "--message", "a project")
	archives["git archive"] = run("git", "archive", "--format=tar.gz", "HEAD")
	for name, archive := range archives {
		if client, fake := both(t, archive); client != "" || fake != "" {
			t.Errorf("%s: the client says %q, the fake %q", name, client, fake)
		}
	}
}
