package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-github/v88/github"
)

type gitHubIssue struct {
	ID        int64         `json:"id"`
	Number    int           `json:"number"`
	State     string        `json:"state"`
	Locked    bool          `json:"locked"`
	Title     string        `json:"title"`
	Body      string        `json:"body"`
	User      gitHubUser    `json:"user"`
	Labels    []gitHubLabel `json:"labels"`
	Comments  int           `json:"comments"`
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
	URL       string        `json:"url"`
	HTMLURL   string        `json:"html_url"`
	NodeID    string        `json:"node_id"`
}

type gitHubUser struct {
	Login  string `json:"login"`
	ID     int64  `json:"id"`
	NodeID string `json:"node_id"`
	URL    string `json:"url"`
	Type   string `json:"type"`
}

type gitHubLabel struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Color string `json:"color"`
}

func gitHub() peer {
	at := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	issue := gitHubIssue{
		ID: 1017, Number: 17, State: "open", Title: "Sales report", Body: strings.Repeat(text, 5),
		User:   gitHubUser{Login: "alex", ID: 18, NodeID: "MDQ6VXNlcjE4", URL: "https://api.github.example.com/users/alex", Type: "User"},
		Labels: []gitHubLabel{{ID: 208, Name: "sales", Color: "f29513"}}, Comments: 3, CreatedAt: at, UpdatedAt: at,
		URL:     "https://api.github.example.com/repos/group/project/issues/17",
		HTMLURL: "https://github.example.com/group/project/issues/17", NodeID: "MDU6SXNzdWUx",
	}
	return peer{
		name: "go-github 88", item: issue, page: repeat(issue),
		itemPath: "/repos/group/project/issues/17", pagePath: "/repos/group/project/issues?per_page=100",
		newItem: func() any { return new(gitHubIssue) }, newPage: func() any { return new([]gitHubIssue) },
		open: openGitHub,
	}
}

func openGitHub(transport http.RoundTripper, url string) (calls, error) {
	url += "/"
	opts := []github.ClientOptionsFunc{github.WithAuthToken("token"), github.WithURLs(&url, nil)}
	if transport != nil {
		opts = append(opts, github.WithTransport(transport))
	}
	client, err := github.NewClient(opts...)
	if err != nil {
		return calls{}, err
	}
	ctx := context.Background()
	return calls{
		get: func() error {
			issue, _, err := client.Issues.Get(ctx, "group", "project", 17)
			if err != nil || issue.GetTitle() == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		list: func() error {
			issues, _, err := client.Issues.ListByRepo(ctx, "group", "project", &github.IssueListByRepoOptions{ListOptions: github.ListOptions{PerPage: 100}})
			if err != nil || len(issues) != 100 {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		notFound: func() string {
			_, _, err := client.Issues.Get(ctx, "group", "project", 17)
			var problem *github.ErrorResponse
			if errors.As(err, &problem) {
				return problem.Message
			}
			return ""
		},
		done: http.DefaultClient.CloseIdleConnections, // it has none of its own
	}, nil
}
