package connictest

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/connic-go/connic"
)

// job is the ingestion of an entry.
type job struct {
	id                              string
	number                          int
	environment, namespace, entryID string
	chunks                          int
	entry                           *entry           // nil once the job has ended
	status                          connic.JobStatus // final, or empty
	problem                         string
	attempt                         int
	asking                          bool // FailIngestion is being asked
	takes                           time.Duration
	created                         time.Time
	began                           time.Time // of the attempt
	ended                           time.Time
}

func (j *job) due() time.Time { return j.began.Add(j.takes) }

func (j *job) state(now time.Time) (status connic.JobStatus, since time.Time) {
	processing := j.created.Add(j.takes / 4)
	switch {
	case j.status != "":
		return j.status, j.ended
	case j.attempt > 1:
		return connic.JobRetrying, j.began
	case now.Before(processing):
		return connic.JobQueued, j.created
	}
	return connic.JobProcessing, processing
}

func (j *job) object(now time.Time) object {
	status, since := j.state(now)
	o := object{
		"id": j.id, "status": string(status), "entry_id": j.entryID, "namespace": text(j.namespace),
		"error": text(j.problem), "chunk_count": nil, "created_at": timestamp(j.created), "updated_at": timestamp(since),
	}
	if status == connic.JobCompleted {
		o["chunk_count"] = j.chunks
	}
	return o
}

// settle updates the ingestions, in the order in which they end. It uses no
// goroutine, so a test that does not wait for its uploads leaves none behind.
// The caller holds the mutex.
func (s *Server) settle(ctx context.Context) {
	now := s.now()
	for {
		var first *job
		for _, j := range s.jobs {
			if j.status == "" && !j.asking && !j.due().After(now) && (first == nil || j.due().Before(first.due())) {
				first = j
			}
		}
		if first == nil || !s.ingest(ctx, first) {
			return
		}
	}
}

// ingest ends an attempt of a job. It reports false if the request that
// triggered it has gone.
func (s *Server) ingest(ctx context.Context, j *job) bool {
	if fail := s.failIngestion; fail != nil {
		e := IngestedEntry{
			JobID: j.id, EnvironmentID: j.entry.environment, Namespace: j.entry.namespace, EntryID: j.entry.id,
			Source: j.entry.source, Content: j.entry.content, Metadata: maps.Clone(j.entry.metadata), Attempt: j.attempt,
		}
		j.asking = true
		problem, err := ask(ctx, s, "the function of FailIngestion", func() string { return errorText(fail(e)) })
		j.asking = false
		switch {
		case j.status != "": // its entry was deleted
			return true
		case err != nil && (ctx.Err() != nil || s.ctx.Err() != nil):
			return false
		case err != nil:
			problem = err.Error()
		}
		switch {
		case problem != "" && j.attempt == 1:
			j.began = j.due()
			j.attempt++
			return true
		case problem != "":
			j.end(connic.JobFailed, j.due(), problem)
			return true
		}
	}
	e := j.entry
	j.end(connic.JobCompleted, j.due(), "")
	e.updated = j.ended
	for i, former := range s.entries {
		if former.is(e) {
			if former.job < j.number { // otherwise a later upload ended first
				e.created = former.created
				s.entries[i] = e
			}
			return true
		}
	}
	e.created = j.ended
	s.entries = append(s.entries, e)
	return true
}

func (j *job) end(status connic.JobStatus, at time.Time, problem string) {
	j.status, j.ended, j.problem, j.entry = status, at, problem, nil
}

// abandon ends the open jobs of deleted entries, and reports whether there were
// any.
func (s *Server) abandon(deleted func(*entry) bool) bool {
	found := false
	for _, j := range s.jobs {
		if j.status == "" && deleted(j.entry) {
			j.end(connic.JobFailed, s.now(), "The entry was deleted")
			found = true
		}
	}
	return found
}

func (s *Server) listJobs(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	want := connic.JobStatus(x.param("status"))
	if x.has("status") && !want.Known() {
		return *invalid("Input should be a job status", "enum", "query", "status")
	}
	var items []object
	now := s.now()
	for _, j := range slices.Backward(s.jobs) {
		if status, _ := j.state(now); j.environment == environment && (want == "" || status == want) {
			items = append(items, j.object(now))
		}
	}
	return x.page(items)
}

func (s *Server) getJob(x *exchange) answer {
	environment, complaint := s.knowledge(x)
	if complaint != nil {
		return *complaint
	}
	for _, j := range s.jobs {
		if j.id == x.id && j.environment == environment {
			return ok(j.object(s.now()))
		}
	}
	return notFound("Job")
}
