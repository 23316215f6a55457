// Package api is the single description of the Connic REST API: every operation
// with its method, route, permission, retry class, and status. The client, the
// fake in connictest and the coverage document all use this table, so they
// cannot disagree about it.
package api

import "time"

// Op identifies an operation. It is an index into [Table].
type Op uint8

// The operations, in the order of [Table].
const (
	AgentsList Op = iota
	AgentsGet
	AgentsTrigger

	RunsList
	RunsGet
	RunsCancel
	RunsRerun
	RunsDelete

	KnowledgeUploadText
	KnowledgeUploadFile
	KnowledgeList
	KnowledgeGet
	KnowledgeDelete
	KnowledgeDeleteNamespace
	KnowledgeQuery
	KnowledgeNamespaces
	KnowledgeJobsList
	KnowledgeJobsGet

	JudgesList
	JudgesCreate
	JudgesGet
	JudgesUpdate
	JudgesDelete
	JudgesEvaluate
	JudgesEvaluations

	BudgetsList
	BudgetsCreate
	BudgetsGet
	BudgetsUpdate
	BudgetsDelete
	BudgetsUsage

	AuditLogsList

	DeploymentsList
	DeploymentsGet
	DeploymentsUpload
	DeploymentsActivate

	ProjectGet
	EnvironmentsList

	TestRunsCreate
	TestRunsGet

	DevSessionsCreate
	DevSessionsGet
	DevSessionsStatus
	DevSessionsUpload
	DevSessionsDelete

	BridgesRoutes
	BridgesSetRoutes

	ApprovalsList
	ApprovalsGet
	ApprovalsDecide

	ConnectorsList
	ConnectorsCreate
	ConnectorsGet
	ConnectorsUpdate
	ConnectorsDelete

	LoginStart
	LoginToken

	// NumOps is the number of operations in the table.
	NumOps
)

// Class says what a repeated request does, and therefore which failures are
// retried.
type Class uint8

const (
	// Safe operations change nothing.
	Safe Class = iota
	// Idempotent operations change something, but have the same effect when
	// repeated.
	Idempotent
	// Unsafe operations do their work again each time they arrive.
	Unsafe
)

func (c Class) String() string {
	switch c {
	case Safe:
		return "safe"
	case Idempotent:
		return "idempotent"
	default:
		return "unsafe"
	}
}

// Mark says how an operation is known: its status.
type Mark string

const (
	// Documented operations are shown in the vendor's documentation of this API.
	Documented Mark = "documented"
	// Observed operations are called by the vendor's own command-line client.
	Observed Mark = "observed"
	// Assumed operations follow this package's convention. The vendor documents
	// at most the capability, not the path or the keys.
	Assumed Mark = "assumed"
)

// Operation is an entry of the table.
type Operation struct {
	Op     Op
	Name   string // stable and of low cardinality, such as "runs.get"
	Method string
	Route  string // after the base URL, with {placeholders}
	// Section is the section of the API key that controls access to the
	// operation; empty if the vendor documents none.
	Section string
	// Access is "read", "write", or "read or write" if it is not known which of
	// the two is required; empty without a section.
	Access string
	Class  Class
	Mark   Mark
	// Timeout is how long an attempt may take, if that is longer than usual; 0
	// means the timeout of the client. Source: the vendor's command-line
	// client.
	Timeout time.Duration
	// Words is set for an assumed operation whose capability the vendor
	// describes in prose.
	Words bool
	// Keyless operations take no API key: they are how one is obtained.
	Keyless bool
	// Query and Body name the parameters and the top-level body keys of the
	// operation. A body of "*" accepts any key.
	Query, Body []string
}

// Lookup returns the operation with the given name.
func Lookup(name string) (*Operation, bool) {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i], true
		}
	}
	return nil, false
}
