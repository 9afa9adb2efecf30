package paths

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-enterprise-pki/backend/fsck"
	"vault-plugin-secrets-enterprise-pki/paths/schema"
)

const fsckHelp = `
Reads everything that the mount has stored, derives every invariant from it anew and
names each key at which one does not hold. It changes nothing and runs in the
background, for minutes on a large mount; what is found broken while others write is
looked for a second time. A broken finding is a defect or a damaged storage: restore a
snapshot, or report it. A notice is what a crash left behind and harms nothing. Keys
outside of every prefix that the engine knows are not seen.
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
		schema.Path("fsck", "Check whether storage is whole.", fsckHelp,
			schema.Read("Read what the check under way, or the last one, has found.", m.readFsck),
			schema.Write("Start a check and return at once.", m.startFsck),
			schema.Delete("Cancel the check under way.", m.cancelFsck)),
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
