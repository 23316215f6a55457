package cases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"os"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/internal/bench/measure"
)

const uploadSize = 25 << 20

// Upload sends a file of 25 MiB from disk, streamed.
func Upload() (Case, error) {
	name, remove, err := newFile()
	if err != nil {
		return Case{}, err
	}
	ctx := context.Background()
	f, client, err := inMemory(http.StatusAccepted, ingestionBody)
	return Case{
		Name:  "upload of a file of 25 MiB",
		Floor: func() error { return sendFile(ctx, f, name) },
		Client: func() error {
			ingestion, err := client.Knowledge.UploadFile(ctx, connic.FileUpload{EnvironmentID: "e", Namespace: "reports", File: connic.LocalFile(name)})
			if err != nil || ingestion.JobID == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		Close: remove,
	}, err
}

func newFile() (name string, remove func(), err error) {
	file, err := os.CreateTemp("", "connic-bench-*.txt")
	if err != nil {
		return "", nil, err
	}
	line := []byte("The west region did best in the third quarter, with 72300 in all.\n")
	_, err = file.Write(bytes.Repeat(line, uploadSize/len(line)+1)[:uploadSize])
	return file.Name(), func() { _ = os.Remove(file.Name()) }, errors.Join(err, file.Close())
}

// sendFile is the floor of an upload: a pipe, and a goroutine that writes the
// form to it.
func sendFile(ctx context.Context, f *measure.Floor, name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	go func() {
		err := form.WriteField("namespace", "reports")
		if err == nil {
			var part io.Writer
			if part, err = form.CreateFormFile("file", "report.txt"); err == nil {
				_, err = io.Copy(part, file)
			}
		}
		w.CloseWithError(errors.Join(err, form.Close()))
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Base+"/projects/p/knowledge/files?environment_id=e", r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", f.Authorization)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", form.FormDataContentType())
	resp, err := f.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var ingestion floorIngestion
	if err := json.NewDecoder(resp.Body).Decode(&ingestion); err != nil || ingestion.JobID == "" {
		return errors.Join(errAnswer, err)
	}
	return nil
}
