package main

import (
	"errors"
	"net/http"
	"strings"
	"time"

	gitlab "gitlab.com/gitlab-org/api/client-go/v2"
)

type gitLabIssue struct {
	ID             int64        `json:"id"`
	IID            int64        `json:"iid"`
	State          string       `json:"state"`
	Description    string       `json:"description"`
	Author         gitLabAuthor `json:"author"`
	ProjectID      int64        `json:"project_id"`
	Title          string       `json:"title"`
	CreatedAt      time.Time    `json:"created_at"`
	UpdatedAt      time.Time    `json:"updated_at"`
	Labels         []string     `json:"labels"`
	Upvotes        int64        `json:"upvotes"`
	Downvotes      int64        `json:"downvotes"`
	WebURL         string       `json:"web_url"`
	Confidential   bool         `json:"confidential"`
	IssueType      string       `json:"issue_type"`
	UserNotesCount int64        `json:"user_notes_count"`
}

type gitLabAuthor struct {
	ID        int64  `json:"id"`
	State     string `json:"state"`
	WebURL    string `json:"web_url"`
	Name      string `json:"name"`
	AvatarURL string `json:"avatar_url"`
	Username  string `json:"username"`
}

func gitLab() peer {
	at := time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)
	issue := gitLabIssue{
		ID: 1017, IID: 17, State: "opened", Description: strings.Repeat(text, 5), ProjectID: 4, Title: "Sales report",
		Author: gitLabAuthor{
			ID: 18, State: "active", WebURL: "https://gitlab.example.com/alex", Name: "Alex Example",
			AvatarURL: "https://gitlab.example.com/a/18.png", Username: "alex",
		},
		CreatedAt: at, UpdatedAt: at, Labels: []string{"sales", "report"}, Upvotes: 4,
		WebURL: "https://gitlab.example.com/group/project/issues/17", IssueType: "issue", UserNotesCount: 1,
	}
	return peer{
		name: "gitlab client-go 2.64", item: issue, page: repeat(issue),
		itemPath: "/api/v4/projects/4/issues/17", pagePath: "/api/v4/projects/4/issues?per_page=100",
		newItem: func() any { return new(gitLabIssue) }, newPage: func() any { return new([]gitLabIssue) },
		open: openGitLab,
	}
}

func openGitLab(transport http.RoundTripper, url string) (calls, error) {
	opts := []gitlab.ClientOptionFunc{gitlab.WithBaseURL(url)}
	if transport != nil {
		opts = append(opts, gitlab.WithHTTPClient(&http.Client{Transport: transport}))
	}
	client, err := gitlab.NewClient("token", opts...)
	if err != nil {
		return calls{}, err
	}
	return calls{
		get: func() error {
			issue, _, err := client.Issues.GetIssue(4, 17)
			if err != nil || issue.Title == "" {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		list: func() error {
			issues, _, err := client.Issues.ListProjectIssues(4, &gitlab.ListProjectIssuesOptions{ListOptions: gitlab.ListOptions{PerPage: 100}})
			if err != nil || len(issues) != 100 {
				return errors.Join(errAnswer, err)
			}
			return nil
		},
		notFound: func() string {
			_, _, err := client.Issues.GetIssue(4, 17)
			var problem *gitlab.ErrorResponse
			if errors.As(err, &problem) {
				return problem.Message
			}
			return ""
		},
		done: client.HTTPClient().CloseIdleConnections,
	}, nil
}
