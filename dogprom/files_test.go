package dogprom_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/stretchr/testify/require"

	"github.com/godurable/dog"
)

var metricName = regexp.MustCompile(`\bdog_[a-z_]+`)

// The metrics that the dashboard and the alerts ask for exist, and the
// dashboard shows all that there are.
func TestFiles_NameTheMetricsThatThereAre(t *testing.T) {
	_, meters, registry := newRuntime(t, dog.Options{})
	require.NoError(t, dog.CallErr(t.Context(), meters.Named("kitchen"), (*meter).Read, 1))
	meters.Named("").ServeHTTP(refusedRequest())
	families, err := registry.Gather()
	require.NoError(t, err)
	exists := make(map[string]bool)
	for _, family := range families {
		exists[family.GetName()] = true
	}
	exists["dog_sockets_closed_total"] = true // none has been closed
	for _, file := range []string{"dashboard.json", "alerts.yml"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, name := range metricName.FindAllString(string(text), -1) {
			require.True(t, exists[strings.TrimSuffix(name, "_bucket")], "%s asks for %s", file, name)
		}
		if file != "dashboard.json" {
			continue
		}
		for name := range exists {
			if !unseen[name] {
				require.Contains(t, string(text), name)
			}
		}
	}
}

// unseen are metrics that a dashboard shows badly: there are alerts for them,
// or others say the same.
var unseen = map[string]bool{
	"dog_store_writable": true, "dog_store_waiting_commits": true, "dog_store_sync_seconds_total": true,
	"dog_alarms_running": true, "dog_sockets_opened_total": true,
}

// Prometheus itself checks the rules, and the queries of the dashboard as if
// they were rules.
func TestFiles_HaveQueriesThatPrometheusTakes(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: it comes with Prometheus")
	}
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for _, query := range regexp.MustCompile(`"expr": (".*"),?`).FindAllSubmatch(text, -1) {
		rules += "  - record: r\n    expr: " + strings.ReplaceAll(string(query[1]), "$__rate_interval", "5m") + "\n"
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	require.NoError(t, os.WriteFile(file, []byte(rules), 0o600))
	output, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "alerts.yml", file).CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "10 rules")
}

// Grafana generates these types from its schema of dashboards, panels and
// queries. Fields that it does not have, and those that it requires and are
// missing, are errors.
func TestDashboard_HasTheSchemaOfGrafana(t *testing.T) {
	cog.NewRuntime().RegisterPanelcfgVariant(timeseries.VariantConfig())
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var d dashboard.Dashboard //nolint:staticcheck // the newer type is for Grafana 12 and later
	require.Empty(t, d.UnmarshalJSONStrict(text), "the errors, if there are any")
	require.NoError(t, d.Validate())
	for _, p := range d.Panels {
		if p.Panel != nil {
			require.IsType(t, &timeseries.Options{}, p.Panel.Options, "no panel of a type that is not checked")
			for _, query := range p.Panel.Targets {
				require.IsType(t, prometheus.Dataquery{}, query)
			}
		}
	}
}

// What Grafana refuses to import or shows as an error: panels without a place,
// with the same number, over each other, or without a query.
func TestDashboard_IsWellFormed(t *testing.T) {
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	type place struct{ X, Y, W, H int }
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Panels        []struct {
			ID          int
			Type, Title string
			Description string
			GridPos     place
			Targets     []struct{ RefID, Expr string }
		}
		Templating struct{ List []struct{ Name, Type string } }
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Title)
	require.NotEmpty(t, dashboard.UID)
	require.Positive(t, dashboard.SchemaVersion)
	variables := []string{"__rate_interval"}
	for _, v := range dashboard.Templating.List {
		variables = append(variables, v.Name)
	}
	taken := make(map[place]string)
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "%s has the number of another panel", p.Title)
		ids[p.ID] = true
		at := p.GridPos
		require.True(t, at.W > 0 && at.H > 0 && at.X+at.W <= 24, p.Title)
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				require.Empty(t, taken[place{X: x, Y: y}], p.Title)
				taken[place{X: x, Y: y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Description, p.Title)
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.NotEmpty(t, target.RefID)
			for _, used := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(target.Expr, -1) {
				require.Contains(t, variables, used[1])
			}
		}
	}
}
