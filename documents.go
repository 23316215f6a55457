package connic

// The following methods say what makes a response the document expected. Item
// is the id that was requested, or "" if the service chooses it.
func (a *Agent) expected(item string) error      { return names("name", item, a.Name, a.ID) }
func (e *Entry) expected(item string) error      { return names("entry_id", item, e.EntryID) }
func (j *Job) expected(item string) error        { return names("id", item, j.ID) }
func (j *Judge) expected(item string) error      { return names("id", item, j.ID) }
func (b *Budget) expected(item string) error     { return names("id", item, b.ID) }
func (d *Deployment) expected(item string) error { return names("id", item, d.ID) }
func (p *Project) expected(string) error         { return names("id", "", p.ID) }
func (u *DevUpload) expected(string) error       { return names("files_hash", "", u.FilesHash) }

// A run is known by its id or, if the service does not repeat that, by the
// members that the vendor's own client reads.
func (r *Run) expected(item string) error {
	if r.ID == "" && item != "" && (r.Traces != nil || r.Context != nil) {
		return nil
	}
	return names("id", item, r.ID)
}

func (r *TestRun) expected(item string) error {
	if r.ID == "" && item != "" && (r.Phase != "" || r.Cases != nil || r.Status.Known()) {
		return nil
	}
	return names("id", item, r.ID)
}

// The response of a session that is starting may be empty.
func (v *DevSession) expected(item string) error {
	if v.ID == "" && item != "" {
		return nil
	}
	return names("id", item, v.ID)
}

// The response types decode from any JSON, such as a file or the body of a
// webhook, as tolerantly as the client decodes a response.

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Agent) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TriggerResult) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Run) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Span) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TokenUsage) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Entry) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Match) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Namespace) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Job) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Ingestion) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Judge) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *RunFilter) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *ScoreAlert) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Evaluation) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Budget) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *UsageRow) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *AuditEntry) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Actor) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Deployment) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Project) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Environment) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TestRun) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *TestCase) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *DevSession) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *DevUpload) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *BridgeRoute) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }
