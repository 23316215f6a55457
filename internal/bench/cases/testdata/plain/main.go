// Plain does by hand what the program consumer does with the client.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
)

func main() {
	if err := get(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func get(id string) error {
	url := "https://api.connic.co/v1/projects/" + os.Getenv("CONNIC_PROJECT_ID") + "/runs/" + id
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+os.Getenv("CONNIC_API_KEY"))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	var run struct {
		Output string `json:"output"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&run); err != nil {
		return err
	}
	fmt.Println(run.Output)
	return nil
}
