package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/digitalocean/godo"
)

type volume struct {
	ID              string       `json:"id"`
	Region          volumeRegion `json:"region"`
	Name            string       `json:"name"`
	SizeGigaBytes   int64        `json:"size_gigabytes"`
	Description     string       `json:"description"`
	DropletIDs      []int        `json:"droplet_ids"`
	CreatedAt       time.Time    `json:"created_at"`
	FilesystemType  string       `json:"filesystem_type"`
	FilesystemLabel string       `json:"filesystem_label"`
	Tags            []string     `json:"tags"`
}

type volumeRegion struct {
	Slug      string   `json:"slug"`
	Name      string   `json:"name"`
	Sizes     []string `json:"sizes"`
	Available bool     `json:"available"`
	Features  []string `json:"features"`
}

type volumeItem struct {
	Volume volume `json:"volume"`
}

type volumePage struct {
	Volumes []volume   `json:"volumes"`
	Meta    volumeMeta `json:"meta"`
}

type volumeMeta struct {
	Total int `json:"total"`
}

func digitalOcean() peer {
	v := volume{
		ID: "506f78a4-e098-11e5-ad9f-000f53306ae1", Name: "sales", SizeGigaBytes: 10, Description: strings.Repeat(text, 6),
		Region:     volumeRegion{"nyc1", "New York 1", []string{"s-1vcpu-1gb", "s-1vcpu-2gb", "s-1vcpu-3gb"}, true, []string{"backups", "ipv6"}},
		DropletIDs: []int{17, 18}, CreatedAt: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC),
		FilesystemType: "ext4", FilesystemLabel: "example", Tags: []string{"sales", "report"},
	}
	return peer{
		name: "godo 1.236", item: volumeItem{v}, page: volumePage{repeat(v), volumeMeta{100}},
		itemPath: "/v2/volumes/" + v.ID, pagePath: "/v2/volumes?per_page=100",
		newItem: func() any { return new(volumeItem) }, newPage: func() any { return new(volumePage) },
		open: func(transport http.RoundTripper, url string) (calls, error) {
			return openDigitalOcean(transport, url, v.ID)
		},
	}
}

func openDigitalOcean(transport http.RoundTripper, url, id string) (calls, error) {
	var own *http.Client
	opts := []godo.ClientOpt{godo.SetBaseURL(url + "/"), godo.SetRequestHeaders(map[string]string{"Authorization": auth})}
	if transport != nil {
		own = &http.Client{Transport: transport}
	}
	client, err := godo.New(own, opts...)
	if err != nil {
		return calls{}, err
	}
	ctx := context.Background()
	return calls{
		get: func() error {
			v, _, err := client.Storage.GetVolume(ctx, id)
			if err != nil || v.Name == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		list: func() error {
			volumes, _, err := client.Storage.ListVolumes(ctx, &godo.ListVolumeParams{ListOptions: &godo.ListOptions{PerPage: 100}})
			if err != nil || len(volumes) != 100 {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		notFound: func() string {
			_, _, err := client.Storage.GetVolume(ctx, id)
			var problem *godo.ErrorResponse
			if errors.As(err, &problem) {
				return problem.Message
			}
			return ""
		},
		done: http.DefaultClient.CloseIdleConnections, // it has none of its own
	}, nil
}
