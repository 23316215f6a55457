package connic

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/connic-go/connic/internal/api"
	"github.com/connic-go/connic/internal/watch"
)

// A Job is the ingestion of an uploaded entry.
type Job struct {
	ID         string    `json:"id" api:"assumed,job_id"`
	Status     JobStatus `json:"status" api:"words"`
	EntryID    string    `json:"entry_id,omitzero" api:"assumed"`
	Namespace  string    `json:"namespace,omitzero" api:"assumed"`
	Error      string    `json:"error,omitzero" api:"assumed"`
	ChunkCount int       `json:"chunk_count,omitzero" api:"assumed"`
	CreatedAt  time.Time `json:"created_at,omitzero" api:"assumed"`
	UpdatedAt  time.Time `json:"updated_at,omitzero" api:"assumed"`

	RawItem
}

// JobStatus is the status of an ingestion job: "pending", "queued", "processing"
// or "retrying", and finally "completed" or "failed".
type JobStatus string

// The known job statuses.
const (
	JobPending    JobStatus = "pending"
	JobQueued     JobStatus = "queued"
	JobProcessing JobStatus = "processing"
	JobRetrying   JobStatus = "retrying"
	JobCompleted  JobStatus = "completed"
	JobFailed     JobStatus = "failed"
)

func (s JobStatus) active() bool {
	return s == JobPending || s == JobQueued || s == JobProcessing || s == JobRetrying
}

// Finished reports whether s is one of the known final statuses.
func (s JobStatus) Finished() bool { return s == JobCompleted || s == JobFailed }

// Known reports whether this version of the package knows s.
func (s JobStatus) Known() bool { return s.active() || s.Finished() }

// effectiveStatus returns the status, or derives it from the error if the
// service omits it.
func (j *Job) effectiveStatus() JobStatus {
	if j.Status == "" && j.Error != "" {
		return JobFailed
	}
	return j.Status
}

// JobListParams selects ingestion jobs.
type JobListParams struct {
	EnvironmentID string // default: the client's environment
	Status        JobStatus
	// Limit is the number of jobs per page, at most 100 (assumed). If it is 0,
	// Jobs leaves it to the service, and AllJobs uses 100.
	Limit, Offset int
}

func jobListing(s *KnowledgeService, p *JobListParams) listing[Job] {
	if p == nil {
		p = new(JobListParams)
	}
	l := listing[Job]{
		scope: s.scope(), name: "jobs", id: func(j *Job) string { return j.ID },
		limit: p.Limit, offset: p.Offset,
	}
	l.request, l.err = s.begin(api.KnowledgeJobsList, p.EnvironmentID)
	l.request.query.add("status", string(p.Status))
	return l
}

// Jobs returns one page of ingestion jobs. It costs one request.
//
//	API:    GET /projects/{project}/knowledge/jobs
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) Jobs(ctx context.Context, p *JobListParams, opts ...RequestOption) (*Page[Job], error) {
	return jobListing(s, p).page(ctx, opts)
}

// AllJobs iterates over the ingestion jobs, starting at the given offset. Jobs
// may be added and deleted during the iteration: each of the others is yielded
// once, or the iteration ends with [ErrPageLoop]. It costs one request per
// Limit jobs, and a few more if the list changes; the default Limit is 100.
//
//	API:    GET /projects/{project}/knowledge/jobs
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) AllJobs(ctx context.Context, p *JobListParams, opts ...RequestOption) iter.Seq2[*Job, error] {
	return jobListing(s, p).all(ctx, opts)
}

// GetJob returns an ingestion job. It costs one request.
//
//	API:    GET /projects/{project}/knowledge/jobs/{job}
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) GetJob(ctx context.Context, jobID string, p *KnowledgeParams, opts ...RequestOption) (*Job, error) {
	return s.getJob(ctx, jobID, p, LaneCall, opts)
}

func (s *KnowledgeService) getJob(ctx context.Context, id string, p *KnowledgeParams, lane Lane, opts []RequestOption) (*Job, error) {
	r, err := s.begin(api.KnowledgeJobsGet, p.environment())
	if err != nil {
		return nil, err
	}
	r.id, r.lane = id, lane
	return do(ctx, s.scope(), r, decodeInto[Job], opts)
}

// waiter returns the waiter for the ingestion jobs of an environment.
func jobWaiter(s *KnowledgeService, conf *waitConfig, p *KnowledgeParams) *waiter[Job] {
	environment := cmp.Or(p.environment(), s.scope().environment)
	return newWaiter(s.scope(), conf, environment, (*Job).failure, watch.Kind[Job]{
		Name: "ingestion job",
		ID:   func(j *Job) string { return j.ID },
		State: func(j *Job) watch.State {
			status := j.effectiveStatus()
			return watch.State{Status: string(status), Done: !status.active()}
		},
		Get: func(ctx context.Context, id string, a watch.Ask) (*Job, error) {
			return s.getJob(ctx, id, &KnowledgeParams{EnvironmentID: environment}, LanePoll, conf.asked(a))
		},
		List: func([]*Job) func(context.Context, watch.Position, watch.Ask) (watch.Page[Job], error) {
			return pages(conf, jobListing(s, &JobListParams{EnvironmentID: environment, Limit: pageLimit}))
		},
		Copy: (*Job).clone,
	})
}

func (j *Job) clone() *Job {
	own := *j
	return &own
}

// failure returns the error of a job that has ended, or nil if it completed.
func (j *Job) failure() error {
	if j.effectiveStatus() == JobCompleted {
		return nil
	}
	return &JobError{Job: j}
}

// WaitJob waits until an ingestion job has ended and returns it. Until then,
// queries find the previous version of the entry, if there was one. A job that
// did not complete is returned together with a [*JobError]. If the wait itself
// ends first, the job as last seen is returned together with a [*WaitError].
//
// WaitJob polls immediately, after 2 s, and then at growing intervals of up to
// 15 s (see [WithPoll]). All waits of a Client for jobs of one environment share
// their polls: one list request per poll and 100 jobs. One or two waits, and any
// job that the list does not show, cost one request per poll and job.
//
//	API:    GET /projects/{project}/knowledge/jobs/{job}
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) WaitJob(ctx context.Context, jobID string, p *KnowledgeParams, opts ...WaitOption) (*Job, error) {
	conf := newWaitConfig(opts)
	return jobWaiter(s, &conf, p).one(ctx, api.Table[api.KnowledgeJobsGet].Name, jobID, &Job{ID: jobID})
}

// WaitJobs waits for many ingestion jobs and yields each as it ends. A job that
// did not complete is yielded with a [*JobError], and one that cannot be
// retrieved with a [*WaitError]; the wait continues for the others. A poll
// costs one list request per 100 jobs, and a single request for each job that
// the list does not show. In all other respects WaitJobs relates to
// [KnowledgeService.WaitJob] as [RunsService.WaitAll] does to
// [RunsService.Wait].
//
//	API:    GET /projects/{project}/knowledge/jobs
//	Access: knowledge read
//	Status: assumed
func (s *KnowledgeService) WaitJobs(ctx context.Context, jobIDs []string, p *KnowledgeParams, opts ...WaitOption) iter.Seq2[*Job, error] {
	conf := newWaitConfig(opts)
	return jobWaiter(s, &conf, p).all(ctx, api.Table[api.KnowledgeJobsList].Name, jobIDs)
}

// A JobError is returned with an ingestion job that ended without completing:
// it failed, or ended in a status that this version of the package does not
// know. In the latter case it matches [ErrUnknownStatus].
type JobError struct {
	Job *Job
	hidden
}

func (e *JobError) Error() string {
	j := e.Job
	if j == nil {
		return e.endedText("ingestion job", "", "", "", false, "")
	}
	status := j.effectiveStatus()
	return e.endedText("ingestion job", j.ID, about("entry", j.EntryID), string(status), status.Known(), j.Error)
}

// MarshalText implements [encoding.TextMarshaler]. It returns the same text as
// Error, so that a JSON log contains the text rather than the whole job.
func (e *JobError) MarshalText() ([]byte, error) { return []byte(e.Error()), nil }

// Is reports whether target is [ErrUnknownStatus] and the status is not known.
func (e *JobError) Is(target error) bool {
	return target == ErrUnknownStatus && e.Job != nil && !e.Job.effectiveStatus().Known()
}
