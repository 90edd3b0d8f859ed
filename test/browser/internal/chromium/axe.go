package chromium

import (
	"context"
	_ "embed"
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

//go:embed testdata/axe-core/axe.min.js
var axe string

// RequireAccessible fails the test if axe-core finds that the page breaks one
// of its rules, which are those of WCAG at the levels A and AA and best
// practices.
func (p *Tab) RequireAccessible() {
	p.t.Helper()
	p.Run(axe)
	type result struct {
		Found  []string `json:"found"`
		Passes int      `json:"passes"`
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	r, err := chromedp.Run(ctx, chromedp.Evaluate[result](`axe.run().then(({ violations, passes }) => ({
		found: violations.flatMap(({ id, nodes }) => nodes.map((n) => id + ": " + n.html + "\n" + n.failureSummary)),
		passes: passes.length,
	}))`, chromedp.EvalAwaitPromise))
	require.NoError(p.t, err, "on the page of %s", p.name)
	require.Empty(p.t, r.Found, "the page of %s is not accessible:\n%s", p.name, strings.Join(r.Found, "\n"))
	require.Greater(p.t, r.Passes, 10, "axe-core has checked next to nothing")
}
