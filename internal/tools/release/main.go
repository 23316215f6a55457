// Release prepares the modules of this repository for publication.
//
//	release -proxy dir     writes a module proxy as a folder, from the work tree
//	release -edit          edits the nested go.mod files for their tags
//
// A nested module is developed with replace directives that point to the root
// module and to others of this repository. They do not apply to users of the module,
// and a program in a module with such a directive cannot be run as module@version.
// Both commands therefore remove them, and require those modules at the released
// version, if the module requires them at all.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const root = "github.com/connic-go/connic"

// released lists the folders of the modules that get tags: each after those that
// it requires.
var released = []string{".", "contrib/chat", "contrib/redisquota", "contrib/otel", "contrib/connicgen", "contrib/doctor", "contrib/exporter", "cmd/connicctl"}

func main() {
	log.SetFlags(0)
	top := flag.String("top", "../..", "the repository")
	proxy := flag.String("proxy", "", "write a module proxy to this `folder`")
	edit := flag.Bool("edit", false, "edit the go.mod files of the nested modules")
	flag.Parse()
	if (*proxy == "") != *edit || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*top, *proxy, *edit); err != nil {
		log.Fatal("release: ", err)
	}
}

func run(top, proxy string, edit bool) error {
	version, err := current(top)
	if err != nil {
		return err
	}
	files, err := tracked(top)
	if err != nil {
		return err
	}
	for _, folder := range released {
		goMod, err := prepared(filepath.Join(top, folder, "go.mod"), version)
		if err != nil {
			return err
		}
		if edit {
			if err := os.WriteFile(filepath.Join(top, folder, "go.mod"), goMod, 0o644); err != nil {
				return err
			}
			continue
		}
		if err := publish(proxy, top, folder, version, goMod, files); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	if !edit {
		fmt.Println(version)
	}
	return nil
}

// current returns the version constant of the client.
func current(top string) (string, error) {
	source, err := os.ReadFile(filepath.Join(top, "core.go"))
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^const Version = "([^"]+)"`).FindSubmatch(source)
	if m == nil {
		return "", errors.New("core.go has no constant Version")
	}
	return "v" + string(m[1]), nil
}

// tracked lists the files that a checkout of the work tree would contain, with
// slashes.
func tracked(top string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard") //nolint:noctx // it always ends
	cmd.Dir, cmd.Stderr = top, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(top, name)); err == nil { // a deleted file is still in the index
			files = append(files, name)
		}
	}
	return files, nil
}

// prepared returns a go.mod as it is in the tagged commit.
func prepared(name, version string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := modfile.Parse(name, data, nil)
	if err != nil {
		return nil, err
	}
	ours := make(map[string]bool)
	for _, folder := range released {
		ours[path.Join(root, folder)] = true
	}
	for _, r := range file.Replace {
		if !ours[r.Old.Path] {
			return nil, fmt.Errorf("%s replaces %s", name, r.Old.Path)
		}
	}
	if file.Module.Mod.Path == root {
		if len(file.Replace) > 0 {
			return nil, fmt.Errorf("%s replaces something", name)
		}
		return data, nil
	}
	for module := range ours {
		if err := file.DropReplace(module, ""); err != nil {
			return nil, err
		}
	}
	for _, r := range file.Require {
		if !ours[r.Mod.Path] {
			continue
		}
		if err := file.AddRequire(r.Mod.Path, version); err != nil {
			return nil, err
		}
	}
	file.Cleanup()
	return file.Format()
}

// publish writes one version of a module in the format of a module proxy.
func publish(proxy, top, folder, version string, goMod []byte, files []string) error {
	name := root
	if folder != "." {
		name += "/" + folder
	}
	escaped, err := module.EscapePath(name)
	if err != nil {
		return err
	}
	dir := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}

	var archive bytes.Buffer
	if err := zip.Create(&archive, module.Version{Path: name, Version: version}, contents(top, folder, goMod, files)); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for suffix, data := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": goMod, version + ".zip": archive.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(dir, suffix), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// contents returns the files of a module, without those of nested modules.
func contents(top, folder string, goMod []byte, files []string) []zip.File {
	prefix := ""
	if folder != "." {
		prefix = folder + "/"
	}
	nested := make(map[string]bool)
	for _, name := range files {
		if path.Base(name) == "go.mod" && name != prefix+"go.mod" {
			nested[path.Dir(name)] = true
		}
	}
	within := func(name string) bool {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if nested[dir] && strings.HasPrefix(dir, prefix) {
				return true
			}
		}
		return false
	}
	var list []zip.File
	for _, name := range files {
		if !strings.HasPrefix(name, prefix) || within(name) {
			continue
		}
		f := file{path: strings.TrimPrefix(name, prefix), disk: filepath.Join(top, filepath.FromSlash(name))}
		if f.path == "go.mod" {
			f.data = goMod
		}
		list = append(list, f)
	}
	// A nested module without a license is published with the license of the
	// root, as the go command does.
	if folder != "." {
		list = append(list, file{path: "LICENSE", disk: filepath.Join(top, "LICENSE")})
	}
	return list
}

// A file is a file of the work tree, or data in its place.
type file struct {
	path, disk string
	data       []byte
}

func (f file) Path() string                { return f.path }
func (f file) Lstat() (os.FileInfo, error) { return os.Lstat(f.disk) }

func (f file) Open() (io.ReadCloser, error) {
	if f.data != nil {
		return io.NopCloser(bytes.NewReader(f.data)), nil
	}
	return os.Open(f.disk)
}
