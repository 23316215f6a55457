package api

import "time"

// Placeholder names in routes.
const (
	project      = "/projects/{project}"
	session      = "/test-sessions/{session}"
	bridgeRoutes = project + "/bridges/{bridge}/routes"
)

// Table holds every operation of the API; Table[op].Op == op.
var Table = [NumOps]Operation{
	{
		Op: AgentsList, Name: "agents.list", Method: "GET", Route: project + "/agents",
		Section: "agents", Access: "read", Class: Safe, Mark: Assumed,
		Query: []string{"environment_id", "limit", "offset"},
	},
	{
		Op: AgentsGet, Name: "agents.get", Method: "GET", Route: project + "/agents/{agent}",
		Section: "agents", Access: "read", Class: Safe, Mark: Assumed,
		Query: []string{"environment_id"},
	},
	{
		Op: AgentsTrigger, Name: "agents.trigger", Method: "POST", Route: project + "/agents/{agent}/trigger",
		Section: "agents", Access: "write", Class: Unsafe, Mark: Documented,
		Body: []string{"*"},
	},

	{
		Op: RunsList, Name: "runs.list", Method: "GET", Route: project + "/runs",
		Section: "runs", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{
			"agent_name", "status", "environment_id", "deployment_id", "parent_run_id",
			"created_after", "created_before", "limit", "offset",
		},
	},
	{
		Op: RunsGet, Name: "runs.get", Method: "GET", Route: project + "/runs/{run}",
		Section: "runs", Access: "read", Class: Safe, Mark: Documented,
	},
	{
		Op: RunsCancel, Name: "runs.cancel", Method: "POST", Route: project + "/runs/{run}/cancel",
		Section: "runs", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},
	{
		Op: RunsRerun, Name: "runs.rerun", Method: "POST", Route: project + "/runs/{run}/rerun",
		Section: "runs", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
	},
	{
		Op: RunsDelete, Name: "runs.delete", Method: "DELETE", Route: project + "/runs/{run}",
		Section: "runs", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},

	{
		// With an entry id, an upload replaces the entry and is treated as
		// idempotent.
		Op: KnowledgeUploadText, Name: "knowledge.upload_text", Method: "POST", Route: project + "/knowledge/text",
		Section: "knowledge", Access: "write", Class: Unsafe, Mark: Documented,
		Query: []string{"environment_id"},
		Body:  []string{"content", "namespace", "entry_id", "metadata"},
	},
	{
		Op: KnowledgeUploadFile, Name: "knowledge.upload_file", Method: "POST", Route: project + "/knowledge/files",
		Section: "knowledge", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Query: []string{"environment_id"},
		Body:  []string{"file", "namespace", "entry_id", "metadata"},
	},
	{
		Op: KnowledgeList, Name: "knowledge.list", Method: "GET", Route: project + "/knowledge",
		Section: "knowledge", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "namespace", "limit", "offset"},
	},
	{
		Op: KnowledgeGet, Name: "knowledge.get", Method: "GET", Route: project + "/knowledge/{entry}",
		Section: "knowledge", Access: "read", Class: Safe, Mark: Assumed,
		Query: []string{"environment_id", "namespace"},
	},
	{
		Op: KnowledgeDelete, Name: "knowledge.delete", Method: "DELETE", Route: project + "/knowledge/{entry}",
		Section: "knowledge", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "namespace"},
	},
	{
		Op: KnowledgeDeleteNamespace, Name: "knowledge.delete_namespace", Method: "DELETE", Route: project + "/knowledge",
		Section: "knowledge", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "namespace"},
	},
	{
		// A POST that reads; whether it requires read or write access is not
		// known.
		Op: KnowledgeQuery, Name: "knowledge.query", Method: "POST", Route: project + "/knowledge/query",
		Section: "knowledge", Access: "read or write", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id"},
		Body:  []string{"query", "namespace", "min_score", "max_results", "metadata_filter"},
	},
	{
		Op: KnowledgeNamespaces, Name: "knowledge.namespaces", Method: "GET", Route: project + "/knowledge/namespaces",
		Section: "knowledge", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "parent", "depth"},
	},
	{
		Op: KnowledgeJobsList, Name: "knowledge.jobs_list", Method: "GET", Route: project + "/knowledge/jobs",
		Section: "knowledge", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "status", "limit", "offset"},
	},
	{
		Op: KnowledgeJobsGet, Name: "knowledge.jobs_get", Method: "GET", Route: project + "/knowledge/jobs/{job}",
		Section: "knowledge", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id"},
	},

	{
		Op: JudgesList, Name: "judges.list", Method: "GET", Route: project + "/judges",
		Section: "judges", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"agent_name", "limit", "offset"},
	},
	{
		Op: JudgesCreate, Name: "judges.create", Method: "POST", Route: project + "/judges",
		Section: "judges", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Body: judgeKeys,
	},
	{
		Op: JudgesGet, Name: "judges.get", Method: "GET", Route: project + "/judges/{judge}",
		Section: "judges", Access: "read", Class: Safe, Mark: Assumed, Words: true,
	},
	{
		Op: JudgesUpdate, Name: "judges.update", Method: "PATCH", Route: project + "/judges/{judge}",
		Section: "judges", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
		Body: judgeKeys,
	},
	{
		Op: JudgesDelete, Name: "judges.delete", Method: "DELETE", Route: project + "/judges/{judge}",
		Section: "judges", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},
	{
		Op: JudgesEvaluate, Name: "judges.evaluate", Method: "POST", Route: project + "/judges/{judge}/evaluate",
		Section: "judges", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Body: []string{"run_id"},
	},
	{
		Op: JudgesEvaluations, Name: "judges.evaluations", Method: "GET", Route: project + "/judges/{judge}/evaluations",
		Section: "judges", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"run_id", "status", "limit", "offset"},
	},

	{
		Op: BudgetsList, Name: "budgets.list", Method: "GET", Route: project + "/budgets",
		Section: "budgets", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"limit", "offset"},
	},
	{
		Op: BudgetsCreate, Name: "budgets.create", Method: "POST", Route: project + "/budgets",
		Section: "budgets", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Body: budgetKeys,
	},
	{
		Op: BudgetsGet, Name: "budgets.get", Method: "GET", Route: project + "/budgets/{budget}",
		Section: "budgets", Access: "read", Class: Safe, Mark: Assumed, Words: true,
	},
	{
		Op: BudgetsUpdate, Name: "budgets.update", Method: "PATCH", Route: project + "/budgets/{budget}",
		Section: "budgets", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
		Body: budgetKeys,
	},
	{
		Op: BudgetsDelete, Name: "budgets.delete", Method: "DELETE", Route: project + "/budgets/{budget}",
		Section: "budgets", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},
	{
		Op: BudgetsUsage, Name: "budgets.usage", Method: "GET", Route: project + "/budgets/usage",
		Section: "budgets", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"from", "to", "group_by", "environment_id", "agent_name"},
	},

	{
		Op: AuditLogsList, Name: "audit_logs.list", Method: "GET", Route: project + "/audit-logs",
		Section: "audit-logs", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"action", "resource_type", "resource_id", "actor", "from", "to", "limit", "offset"},
	},

	{
		Op: DeploymentsList, Name: "deployments.list", Method: "GET", Route: project + "/deployments",
		Section: "deployments", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "status", "limit", "offset"},
	},
	{
		Op: DeploymentsGet, Name: "deployments.get", Method: "GET", Route: project + "/deployments/{deployment}",
		Section: "deployments", Access: "read", Class: Safe, Mark: Assumed, Words: true,
	},
	{
		Op: DeploymentsUpload, Name: "deployments.upload", Method: "POST", Route: project + "/deploy/upload",
		Section: "deployments", Access: "write", Class: Unsafe, Mark: Observed,
		Query: []string{"environment_id"},
		Body:  []string{"files_data", "files_hash", "skip_tests"},
	},
	{
		Op: DeploymentsActivate, Name: "deployments.activate", Method: "POST", Route: project + "/deployments/{deployment}/activate",
		Section: "deployments", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},

	{
		Op: ProjectGet, Name: "project.get", Method: "GET", Route: project,
		Class: Safe, Mark: Observed,
	},
	{
		Op: EnvironmentsList, Name: "environments.list", Method: "GET", Route: project + "/environments",
		Class: Safe, Mark: Observed,
	},

	{
		Op: TestRunsCreate, Name: "test_runs.create", Method: "POST", Route: project + "/test-runs",
		Timeout: 10 * time.Minute,
		Class:   Unsafe, Mark: Observed,
		Body: []string{"files_data", "environment_id", "test_filter"},
	},
	{
		Op: TestRunsGet, Name: "test_runs.get", Method: "GET", Route: project + "/test-runs/{test_run}",
		Class: Safe, Mark: Observed,
	},

	{
		Op: DevSessionsCreate, Name: "dev_sessions.create", Method: "POST", Route: project + "/test-sessions",
		Class: Unsafe, Mark: Observed,
		Body: []string{"name"},
	},
	// The remaining operations have no project in their routes.
	{
		Op: DevSessionsGet, Name: "dev_sessions.get", Method: "GET", Route: session,
		Class: Safe, Mark: Observed,
	},
	{
		Op: DevSessionsStatus, Name: "dev_sessions.status", Method: "GET", Route: session + "/status",
		Class: Safe, Mark: Observed,
	},
	{
		Op: DevSessionsUpload, Name: "dev_sessions.upload", Method: "POST", Route: session + "/files",
		Class: Idempotent, Mark: Observed,
		Body: []string{"file"},
	},
	{
		Op: DevSessionsDelete, Name: "dev_sessions.delete", Method: "DELETE", Route: session,
		Class: Idempotent, Mark: Observed,
	},

	{
		// Reading routes needs the permission to change them.
		Op: BridgesRoutes, Name: "bridges.routes", Method: "GET", Route: bridgeRoutes,
		Section: "bridges", Access: "update", Class: Safe, Mark: Documented,
	},
	{
		Op: BridgesSetRoutes, Name: "bridges.set_routes", Method: "PUT", Route: bridgeRoutes,
		Section: "bridges", Access: "update", Class: Idempotent, Mark: Documented,
		Body: []string{"routes"},
	},

	{
		Op: ApprovalsList, Name: "approvals.list", Method: "GET", Route: project + "/approvals",
		Section: "approvals", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"status", "run_id", "agent_name", "environment_id", "limit", "offset"},
	},
	{
		Op: ApprovalsGet, Name: "approvals.get", Method: "GET", Route: project + "/approvals/{approval}",
		Section: "approvals", Access: "read", Class: Safe, Mark: Assumed, Words: true,
	},
	{
		// A repeated decision is refused, and the approval shows which one was
		// made.
		Op: ApprovalsDecide, Name: "approvals.decide", Method: "POST", Route: project + "/approvals/{approval}/decide",
		Section: "approvals", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Body: []string{"decision", "reason", "response"},
	},

	{
		Op: ConnectorsList, Name: "connectors.list", Method: "GET", Route: project + "/connectors",
		Section: "connectors", Access: "read", Class: Safe, Mark: Assumed, Words: true,
		Query: []string{"environment_id", "type", "limit", "offset"},
	},
	{
		Op: ConnectorsCreate, Name: "connectors.create", Method: "POST", Route: project + "/connectors",
		Section: "connectors", Access: "write", Class: Unsafe, Mark: Assumed, Words: true,
		Body: connectorKeys,
	},
	{
		Op: ConnectorsGet, Name: "connectors.get", Method: "GET", Route: project + "/connectors/{connector}",
		Section: "connectors", Access: "read", Class: Safe, Mark: Assumed, Words: true,
	},
	{
		Op: ConnectorsUpdate, Name: "connectors.update", Method: "PATCH", Route: project + "/connectors/{connector}",
		Section: "connectors", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
		Body: connectorKeys,
	},
	{
		Op: ConnectorsDelete, Name: "connectors.delete", Method: "DELETE", Route: project + "/connectors/{connector}",
		Section: "connectors", Access: "write", Class: Idempotent, Mark: Assumed, Words: true,
	},

	{
		// A second start creates a second code, and the first one expires
		// unused.
		Op: LoginStart, Name: "login.start", Method: "POST", Route: "/cli/login/start",
		Class: Idempotent, Mark: Observed, Keyless: true,
		Body: []string{"hostname"},
	},
	{
		Op: LoginToken, Name: "login.token", Method: "POST", Route: "/cli/login/token",
		Class: Idempotent, Mark: Observed, Keyless: true,
		Body: []string{"device_code"},
	},
}

var judgeKeys = []string{
	"name", "agent_name", "model", "system_prompt", "include_agent_system_prompt", "criteria",
	"trigger_mode", "sample_rate", "filters", "filter_expression", "enabled", "score_alert",
}

var budgetKeys = []string{
	"name", "kind", "scope", "environment_id", "agent_name", "period", "amount", "currency", "enabled",
}

var connectorKeys = []string{"name", "type", "mode", "agents", "config_json"}
