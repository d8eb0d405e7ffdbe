package api

import (
	"html/template"
	"net/http"

	v1 "github.com/lockstep-dev/lockstep/proto/gen/lockstep/v1"
)

// statusPage shows people how this node is.
func (s *service) statusPage(w http.ResponseWriter, _ *http.Request) {
	status := s.cluster.Status(0)
	status.Version = s.config.Version
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if err := s.page.Execute(w, status); err != nil {
		s.config.Logger.Warn("write the status page", "error", err)
	}
}

func parsePage() (*template.Template, error) {
	return template.New("status").Funcs(template.FuncMap{
		"last": func(d []*v1.DigestAt) *v1.DigestAt {
			if len(d) == 0 {
				return &v1.DigestAt{}
			}
			return d[len(d)-1]
		},
	}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2"><title>Lockstep {{.NodeId}}</title>
<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1d2430;background:#fbfbfa}
h1{font-size:1.4rem}table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{text-align:left;padding:.35rem .8rem .35rem 0;border-bottom:1px solid #e3e3df}
th{color:#667;font-weight:500}.leader{color:#0a7a3c;font-weight:600}code{font-size:.85em}
@media(prefers-color-scheme:dark){body{background:#14171c;color:#dde1e7}td,th{border-color:#2b3038}}
</style></head><body>
<h1>Lockstep node <code>{{.NodeId}}</code></h1><p>Version {{.Version}}. Metrics at <a href="/metrics">/metrics</a>.</p>
{{range .Groups}}<h2>Group {{.Group}}: <span{{if eq .State "Leader"}} class="leader"{{end}}>{{.State}}</span></h2>
<table><tr><th>term</th><th>committed</th><th>applied</th><th>flushed</th><th>snapshot</th><th>log</th><th>level</th></tr>
<tr><td>{{.Term}}</td><td>{{.CommitIndex}}</td><td>{{.AppliedIndex}}</td><td>{{.FlushedIndex}}</td><td>{{.SnapshotIndex}}</td><td>{{.FirstLogIndex}}–{{.LastLogIndex}}</td><td>{{.Level}}</td></tr></table>
<table><tr><th>member</th><th>API</th><th>peers</th><th></th></tr>
{{range .Members}}<tr><td><code>{{.NodeId}}</code></td><td>{{.ApiAddress}}</td><td>{{.PeerAddress}}</td><td>{{if .Leader}}<span class="leader">leader</span>{{else if .Voter}}voter{{end}}</td></tr>{{end}}</table>
<p>Digest at {{(last .Digests).Index}}: <code>{{(last .Digests).Digest}}</code></p>{{end}}
</body></html>
`)
}
