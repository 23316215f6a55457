package connic

// The following methods say what makes a response the document expected. Item
// is the id that was requested, or "" if the service chooses it.
func (v *Agent) expected(item string) error      { return names("name", item, v.Name, v.ID) }
func (v *Entry) expected(item string) error      { return names("entry_id", item, v.EntryID) }
func (v *Job) expected(item string) error        { return names("id", item, v.ID) }
func (v *Judge) expected(item string) error      { return names("id", item, v.ID) }
func (v *Budget) expected(item string) error     { return names("id", item, v.ID) }
func (v *Deployment) expected(item string) error { return names("id", item, v.ID) }
func (v *Approval) expected(item string) error   { return names("id", item, v.ID) }
func (v *Connector) expected(item string) error  { return names("id", item, v.ID) }
func (v *Project) expected(string) error         { return names("id", "", v.ID) }
func (v *DevUpload) expected(string) error       { return names("files_hash", "", v.FilesHash) }

// A run is known by its id or, if the service does not repeat that, by the
// members that the vendor's own client reads.
func (v *Run) expected(item string) error {
	if v.ID == "" && item != "" && (v.Traces != nil || v.Context != nil) {
		return nil
	}
	return names("id", item, v.ID)
}

func (v *TestRun) expected(item string) error {
	if v.ID == "" && item != "" && (v.Phase != "" || v.Cases != nil || v.Status.Known()) {
		return nil
	}
	return names("id", item, v.ID)
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

// UnmarshalJSON implements [json.Unmarshaler].
func (v *ApprovalInput) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *Connector) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }

// UnmarshalJSON implements [json.Unmarshaler].
func (v *ConnectorAgent) UnmarshalJSON(data []byte) error { return decodeMethod(data, v) }
