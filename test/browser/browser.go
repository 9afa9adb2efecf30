// Package browser promises a real browser for a test: headless Chromium with an empty
// profile of its own, driven through the DevTools protocol over a pipe, gone with all
// its processes and files when the test ends. It fetches nothing by itself. A missing
// Chromium is a failure that names its package.
//
//	page := browser.Start(t).Open(t, address, browser.Screen{Width: 360, Height: 740})
//	title := browser.Evaluate[string](t, page, "document.title")
package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"vault-plugin-secrets-enterprise-pki/test/wait"
)

// Browser is a running Chromium.
type Browser struct {
	link      *link
	downloads string // folder of finished downloads
}

// Screen is what a page is shown on.
type Screen struct {
	Width, Height int  // CSS pixels
	Dark          bool // whether the reader prefers a dark scheme
}

// Page is one open tab.
type Page struct {
	browser *Browser
	session string
	target  string
}

// Start starts a browser for the length of a test.
func Start(t testing.TB) *Browser {
	t.Helper()
	binary, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed: install the Debian package chromium (make deps)")
	}
	dir := t.TempDir()
	b := &Browser{downloads: filepath.Join(dir, "downloads")}
	ours, theirs := pipes(t), pipes(t)
	command := exec.CommandContext(context.WithoutCancel(t.Context()), binary, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--no-default-browser-check",
		"--disable-extensions", "--disable-breakpad", "--proxy-server=direct://", "--user-data-dir="+filepath.Join(dir, "profile"),
		"--remote-debugging-pipe", "about:blank")
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_CACHE_HOME="+dir, "DBUS_SESSION_BUS_ADDRESS=disabled:")
	command.ExtraFiles = []*os.File{ours.read, theirs.write} // 3 and 4, as --remote-debugging-pipe has it
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		t.Fatalf("starting chromium: %v", err)
	}
	_, _ = ours.read.Close(), theirs.write.Close()
	b.link = newLink(ours.write, theirs.read)
	t.Cleanup(func() {
		_, _ = b.link.call("", "Browser.close", nil)
		_ = ours.write.Close()
		ended := make(chan struct{})
		go func() { _ = command.Wait(); close(ended) }()
		wait.Take(ended)
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL) // what is left of its group
		<-ended
		_ = theirs.read.Close()
	})
	b.call(t, "", "Browser.setDownloadBehavior", arguments{"behavior": "allowAndName", "downloadPath": b.downloads, "eventsEnabled": true})
	return b
}

type pipe struct{ read, write *os.File }

func pipes(t testing.TB) pipe {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatalf("making a pipe to chromium: %v", err)
	}
	return pipe{read, write}
}

// Open shows an address in a new tab and waits until it is loaded.
func (b *Browser) Open(t testing.TB, address string, screen Screen) *Page {
	t.Helper()
	var created struct{ TargetID string }
	decode(t, b.call(t, "", "Target.createTarget", arguments{"url": "about:blank"}), &created)
	var attached struct{ SessionID string }
	decode(t, b.call(t, "", "Target.attachToTarget", arguments{"targetId": created.TargetID, "flatten": true}), &attached)
	page := &Page{browser: b, session: attached.SessionID, target: created.TargetID}
	for _, domain := range []string{"Page", "Log", "Network", "Runtime", "Accessibility"} {
		b.call(t, page.session, domain+".enable", nil)
	}
	b.call(t, page.session, "Emulation.setDeviceMetricsOverride", arguments{
		"width": screen.Width, "height": screen.Height, "deviceScaleFactor": 1, "mobile": screen.Width < 600,
	})
	scheme := "light"
	if screen.Dark {
		scheme = "dark"
	}
	b.call(t, page.session, "Emulation.setEmulatedMedia", arguments{"features": []arguments{{"name": "prefers-color-scheme", "value": scheme}}})
	var navigated struct{ ErrorText string }
	decode(t, b.call(t, page.session, "Page.navigate", arguments{"url": address}), &navigated)
	if navigated.ErrorText != "" {
		t.Fatalf("opening %s: %s", address, navigated.ErrorText)
	}
	b.wait(t, page.session, "Page.loadEventFired", func(json.RawMessage) bool { return true })
	return page
}

// Complaints returns what the browser had to say about the page so far: violations
// of its security policy, failed requests, uncaught errors.
func (p *Page) Complaints() []string {
	var found []string
	for _, event := range p.browser.link.seen(p.session) {
		switch event.Method {
		case "Log.entryAdded", "Network.loadingFailed", "Runtime.exceptionThrown":
			found = append(found, event.Method+" "+string(event.Params))
		}
	}
	return found
}

// Requested returns the addresses that the page made the browser fetch, itself included.
func (p *Page) Requested(t testing.TB) []string {
	t.Helper()
	var found []string
	for _, event := range p.browser.link.seen(p.session) {
		if event.Method == "Network.requestWillBeSent" {
			var sent struct{ Request struct{ URL string } }
			decode(t, event.Params, &sent)
			found = append(found, sent.Request.URL)
		}
	}
	return found
}

// Screenshot returns the whole page as PNG, beyond the edge of the screen as well.
func (p *Page) Screenshot(t testing.TB) []byte {
	t.Helper()
	var shot struct{ Data []byte }
	decode(t, p.browser.call(t, p.session, "Page.captureScreenshot", arguments{"format": "png", "captureBeyondViewport": true}), &shot)
	return shot.Data
}

// Roles returns the accessibility tree as a screen reader meets it: "role: name" for
// every node that has a role of its own.
func (p *Page) Roles(t testing.TB) []string {
	t.Helper()
	var tree struct {
		Nodes []struct {
			Ignored    bool
			Role, Name struct{ Value string }
		}
	}
	decode(t, p.browser.call(t, p.session, "Accessibility.getFullAXTree", nil), &tree)
	var found []string
	for _, node := range tree.Nodes {
		if !node.Ignored {
			found = append(found, fmt.Sprintf("%s: %s", node.Role.Value, node.Name.Value))
		}
	}
	return found
}

// Download clicks on the first element that a CSS selector finds and returns the file
// that the browser saved, under the name that it would have had.
func (p *Page) Download(t testing.TB, selector string) (name string, content []byte) {
	t.Helper()
	quoted, err := json.Marshal(selector)
	if err != nil {
		t.Fatal(err)
	}
	before := len(p.browser.link.seen(""))
	Evaluate[bool](t, p, "(document.querySelector("+string(quoted)+").click(), true)")
	var begun struct{ GUID, SuggestedFilename string }
	raw := p.browser.waitFrom(t, "", before, "Browser.downloadWillBegin", func(json.RawMessage) bool { return true })
	decode(t, raw, &begun)
	p.browser.waitFrom(t, "", before, "Browser.downloadProgress", func(raw json.RawMessage) bool {
		var progress struct{ GUID, State string }
		decode(t, raw, &progress)
		if progress.GUID == begun.GUID && progress.State == "canceled" {
			t.Fatalf("downloading %s: the browser gave up", selector)
		}
		return progress.GUID == begun.GUID && progress.State == "completed"
	})
	content, err = os.ReadFile(filepath.Join(p.browser.downloads, begun.GUID))
	if err != nil {
		t.Fatal(err)
	}
	return begun.SuggestedFilename, content
}

// Evaluate runs a JavaScript expression in the page and returns its value.
func Evaluate[T any](t testing.TB, p *Page, expression string) T {
	t.Helper()
	var answer struct {
		Result           struct{ Value T }
		ExceptionDetails json.RawMessage
	}
	decode(t, p.browser.call(t, p.session, "Runtime.evaluate", arguments{"expression": expression, "returnByValue": true}), &answer)
	if answer.ExceptionDetails != nil {
		t.Fatalf("evaluating %s: %s", expression, answer.ExceptionDetails)
	}
	return answer.Result.Value
}
