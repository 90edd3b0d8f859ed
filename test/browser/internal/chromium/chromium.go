// Package chromium opens pages in a real browser, for tests.
//
// It does not know the library: it opens the URL of a test.
package chromium

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// limit bounds each wait for a page; reaching it fails the test.
const limit = 30 * time.Second

// A Step is something that is done on a page.
type Step = chromedp.Action[chromedp.Void]

// Browser is a headless Chromium.
type Browser struct{ ctx context.Context }

// Start starts a Chromium that ends with the test. Without one the test fails.
func Start(t *testing.T) *Browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(find(t)),
		chromedp.NoSandbox, // root and most containers have none; the only pages opened are our own
		chromedp.DisableGPU,
		chromedp.WindowSize(1200, 800), // more than a phone has
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-quic", true),
	)
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, _ := chromedp.NewContext(allocator)
	require.NoError(t, chromedp.Do(ctx), "start Chromium")
	return &Browser{ctx}
}

func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{
		os.Getenv("DOG_CHROMIUM"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable",
	} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium found: install it (Debian and Ubuntu: apt-get install chromium; elsewhere Chromium or " +
		"Google Chrome), " +
		"or name its binary in DOG_CHROMIUM")
	return ""
}

// Tab is one page.
type Tab struct {
	t       *testing.T
	name    string
	ctx     context.Context
	cancel  context.CancelFunc
	console console
}

// Open opens a tab, whose name is for messages, and does the steps in it. An
// exception that its page does not catch fails the test.
func (b *Browser) Open(t *testing.T, name string, steps ...Step) *Tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	require.NoError(t, chromedp.Do(ctx), "open a tab") // with no deadline: the tab lives as long as this context
	p := &Tab{t: t, name: name, ctx: ctx, cancel: cancel}
	require.NoError(t, chromedp.Listen(ctx, p.console.hear))
	t.Cleanup(func() { assert.Empty(t, p.console.exceptions(), "the page of %s throws", name) })
	p.Do(steps...)
	return p
}

// Before is a step that lets each page that the tab opens run a script before
// its own.
func Before(script string) Step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		source := page.AddScriptToEvaluateOnNewDocumentParams{Source: script}
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, source)
		return err
	})
}

// Name returns the name of the tab.
func (p *Tab) Name() string { return p.name }

// Close closes the tab, and returns when it is gone.
func (p *Tab) Close() {
	p.t.Helper()
	require.NoError(p.t, chromedp.Cancel(p.ctx))
}

// Do does the steps, one after the other.
func (p *Tab) Do(steps ...Step) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	require.NoError(p.t, chromedp.Do(ctx, steps...), "on the page of %s", p.name)
}

// Run runs JavaScript statements.
func (p *Tab) Run(script string) {
	p.t.Helper()
	p.Do(chromedp.Evaluate[chromedp.Void](script))
}

// Answer opens a page that asks something in a dialog before it does anything
// else, and answers.
func (p *Tab) Answer(url, answer string) {
	p.t.Helper()
	open := chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.Navigate, page.NavigateParams{URL: url}) // does not wait until it is loaded
		return err
	})
	reply := page.HandleJavaScriptDialogParams{Accept: true, PromptText: answer}
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := chromedp.WaitEvent(page.JavascriptDialogOpening, nil, open)(ctx, t); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, page.HandleJavaScriptDialog, reply)
		return err
	}))
}

// Offline cuts the page off from the network, or connects it again.
func (p *Tab) Offline(offline bool) {
	p.t.Helper()
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		rules := network.EmulateNetworkConditionsByRuleParams{}
		if offline {
			rules.MatchedNetworkConditions = []*network.Conditions{{Offline: true}}
		}
		if _, err := cdp.Call(ctx, t, network.EmulateNetworkConditionsByRule, rules); err != nil {
			return err
		}
		state := network.OverrideNetworkStateParams{Offline: offline, DownloadThroughput: -1, UploadThroughput: -1}
		_, err := cdp.Call(ctx, t, network.OverrideNetworkState, state)
		return err
	}))
}

// Freeze stops the page, as one that has been hidden for long, or lets it run
// again.
func (p *Tab) Freeze(freeze bool) {
	p.t.Helper()
	state := page.SetWebLifecycleStateParams{State: "active"}
	if freeze {
		state.State = "frozen"
	}
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.SetWebLifecycleState, state)
		return err
	}))
}

// Hide hides the page, as one whose window is minimized, or shows it again.
func (p *Tab) Hide(hide bool) {
	p.t.Helper()
	state, visibility := browser.WindowStateNormal, "visible"
	if hide {
		state, visibility = browser.WindowStateMinimized, "hidden"
	}
	p.Do(chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		window, err := cdp.Call(ctx, t, browser.GetWindowForTarget, browser.GetWindowForTargetParams{})
		if err != nil {
			return err
		}
		to := browser.SetWindowBoundsParams{WindowID: window.WindowID, Bounds: &browser.Bounds{WindowState: state}}
		_, err = cdp.Call(ctx, t, browser.SetWindowBounds, to)
		return err
	}))
	p.Wait("that it is "+visibility, `document.visibilityState === args[0]`, visibility)
}

// Wait returns once a JavaScript expression, a condition on the page, is true;
// args are its parameter args.
func (p *Tab) Wait(what, expression string, args ...any) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.PollFunction[chromedp.Void]("(...args) => "+expression,
		chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(limit),
		chromedp.WithPollingArgs(args...)))
	if err != nil {
		require.NoError(
			p.t, err, "%s waits for %s; its page shows:\n%s", p.name, what, Eval[string](p, `document.body.innerText`),
		)
	}
}

// Eval returns the value of a JavaScript expression on the page.
func Eval[T any](p *Tab, expression string) T {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, "on the page of %s", p.name)
	return value
}
