package connic

func (s *AgentsService) scope() *Client       { return (*service)(s).of() }
func (s *RunsService) scope() *Client         { return (*service)(s).of() }
func (s *KnowledgeService) scope() *Client    { return (*service)(s).of() }
func (s *JudgesService) scope() *Client       { return (*service)(s).of() }
func (s *BudgetsService) scope() *Client      { return (*service)(s).of() }
func (s *AuditLogsService) scope() *Client    { return (*service)(s).of() }
func (s *DeploymentsService) scope() *Client  { return (*service)(s).of() }
func (s *ProjectService) scope() *Client      { return (*service)(s).of() }
func (s *EnvironmentsService) scope() *Client { return (*service)(s).of() }
func (s *TestRunsService) scope() *Client     { return (*service)(s).of() }
func (s *DevSessionsService) scope() *Client  { return (*service)(s).of() }
func (s *BridgesService) scope() *Client      { return (*service)(s).of() }
