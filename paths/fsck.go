package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const fsckHelp = `
Reads all entries of the mount in the background and checks them against each other.
It changes nothing. It takes minutes on a large mount. An entry that is broken while
others write is checked a second time. A broken finding names a storage key and the rule
that it violates: restore a snapshot, or report it. A notice is a harmless remainder of a
crash. Entries outside of the engine's prefixes are not read.
`

// maxFindings is the most findings in an answer.
const maxFindings = 1000

type finding struct {
	Severity string `json:"severity" doc:"broken or notice."`
	Key      string `json:"key" doc:"Storage key."`
	Problem  string `json:"problem" doc:"Description of the finding."`
}

type fsckAnswer struct {
	State        string    `json:"state" doc:"idle, running, finished, cancelled or error; idle after a restart."`
	Started      string    `json:"time_started,omitempty" doc:"When the check began, RFC 3339."`
	Finished     string    `json:"time_finished,omitempty" doc:"When the check ended, RFC 3339."`
	Error        string    `json:"error,omitempty" doc:"Why storage could not be read."`
	Whole        *bool     `json:"whole" doc:"Once finished: whether nothing is broken."`
	Broken       int       `json:"broken_count" doc:"Broken findings."`
	Total        int       `json:"finding_count" doc:"Findings, broken ones and notices."`
	Findings     []finding `json:"findings" doc:"The findings in the order of keys, the first 1000."`
	Pages        int       `json:"page_count" doc:"Pages of the ledger."`
	Certificates int       `json:"certificate_count" doc:"Certificates on them."`
	Segments     int       `json:"segment_count" doc:"Segments of the ledger."`
	CRLs         int       `json:"crl_count" doc:"CRLs."`
}

func (m *mount) fsckPaths() []*framework.Path {
	return []*framework.Path{
		schema.Path("fsck", "Check storage.", fsckHelp,
			schema.Read("Read the progress of the current check, or the result of the last one.", m.readFsck),
			schema.Write("Start a check and return at once.", m.startFsck),
			schema.Delete("Cancel the check.", m.cancelFsck)),
	}
}

func (m *mount) startFsck(_ context.Context, call *schema.Call, _ schema.None) (fsckAnswer, error) {
	if !m.engine.Fsck.Start() {
		call.Warn("A check is already in progress.")
	}
	return answerFsck(m.engine.Fsck.Status()), nil
}

func (m *mount) readFsck(context.Context, *schema.Call, schema.None) (fsckAnswer, error) {
	return answerFsck(m.engine.Fsck.Status()), nil
}

func (m *mount) cancelFsck(_ context.Context, call *schema.Call, _ schema.None) (schema.None, error) {
	if !m.engine.Fsck.Cancel() {
		call.Warn("No check is in progress.")
	}
	return schema.None{}, nil
}

func answerFsck(status fsck.Status) fsckAnswer {
	report := &status.Report
	answer := fsckAnswer{
		State: string(status.State), Started: rfc3339(status.Started), Finished: rfc3339(status.Finished), Error: status.Error,
		Broken: report.Broken(), Total: len(report.Findings),
		Pages: report.Pages, Certificates: report.Certificates, Segments: report.Segments, CRLs: report.CRLs,
	}
	if status.State == fsck.Finished {
		answer.Whole = new(answer.Broken == 0)
	}
	for _, found := range report.Findings[:min(len(report.Findings), maxFindings)] {
		answer.Findings = append(answer.Findings, finding{Severity: found.Severity.String(), Key: found.Key, Problem: found.Problem})
	}
	return answer
}
