package page_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-enterprise-pki/edge/page"
	"vault-plugin-secrets-enterprise-pki/test/browser"
)

// serve is a site as an edge has it, with something small behind each link.
func serve(t *testing.T, repository page.Repository) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/{$}", page.Handler(source(repository)))
	file := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		fmt.Fprintf(w, "content of %s", r.URL.Path)
	}
	mux.HandleFunc("/ca/", file)
	mux.HandleFunc("/crl/", file)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// hardest is a repository that tries the layout: long words without a break, many
// parts, an overdue list, and an edge that is behind.
func hardest(t *testing.T) page.Repository {
	repository := bank(t)
	long := strings.Repeat("Donaudampfschifffahrtsgesellschaft", 6)
	root := newAuthority(t, long, rsaKey(t), nil)
	repository.Organization = long
	repository.BaseURL = "http://" + strings.Repeat("a-rather-long-label.", 8) + "example.com"
	repository.Issuers[2].Certificate = root.certificate
	repository.Issuers[1].Lists[0].NextUpdate = now.Add(-time.Hour)
	shard := repository.Issuers[1].Lists[2]
	for i := range 120 {
		shard.Shard = fmt.Sprintf("128-%d", i)
		repository.Issuers[1].Lists = append(repository.Issuers[1].Lists, shard)
	}
	repository.Documents = append(repository.Documents, page.Document{Title: long, URL: "https://www.example.com/" + long})
	repository.Synchronized = now.Add(-25 * time.Hour)
	return repository
}

// faint finds text whose contrast with what is behind it is below 4.5 to 1, which is
// what WCAG 2.2 success criterion 1.4.3 asks for.
const faint = `(() => {
  const channels = color => color.match(/[\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = channels(color).map(v => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor, alpha = channels(color)[3];
      if (alpha === undefined || alpha === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const a = light(getComputedStyle(e).color), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(e.tagName + "." + e.className + " " + ratio.toFixed(2) + ": " + e.textContent.trim().slice(0, 40));
  }
  return found;
})()`

// beyond finds what reaches past the right edge of the screen, or of its cell.
const beyond = `[...document.body.querySelectorAll("*")].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width > 1 && (box.right > document.documentElement.clientWidth + 0.5 || e.matches("td, tbody th, dd") && e.scrollWidth > e.clientWidth + 1) && !e.matches("thead, thead *");
}).map(e => e.tagName + "." + e.className + ": " + e.textContent.trim().slice(0, 60))`

func TestPageInABrowser(t *testing.T) {
	chromium := browser.Start(t)
	for name, repository := range map[string]page.Repository{"bank": bank(t), "hardest": hardest(t), "empty": {Now: now}} {
		address := serve(t, repository)
		for _, screen := range []browser.Screen{{Width: 320, Height: 640}, {Width: 360, Height: 740, Dark: true}, {Width: 760, Height: 900}, {Width: 1000, Height: 900}, {Width: 1090, Height: 900}, {Width: 1280, Height: 900}, {Width: 1280, Height: 900, Dark: true}} {
			t.Run(fmt.Sprintf("%s %d dark=%t", name, screen.Width, screen.Dark), func(t *testing.T) {
				shown := chromium.Open(t, address, screen)
				browser.Evaluate[int](t, shown, `document.querySelectorAll("details").forEach(d => d.open = true), 0`)
				require.Empty(t, browser.Evaluate[[]string](t, shown, beyond))
				require.LessOrEqual(t, browser.Evaluate[int](t, shown, "document.documentElement.scrollWidth"), screen.Width, "no scrolling to the side")
				require.Empty(t, browser.Evaluate[[]string](t, shown, faint))
				require.Equal(t, []string{address + "/"}, slices.DeleteFunc(shown.Requested(t), func(r string) bool { return strings.HasPrefix(r, "data:") }), "nothing is loaded from elsewhere")
				require.Empty(t, shown.Complaints())
				if folder := os.Getenv("SCREENSHOTS"); folder != "" {
					file := filepath.Join(folder, fmt.Sprintf("%s-%d-%t.png", name, screen.Width, screen.Dark))
					require.NoError(t, os.WriteFile(file, shown.Screenshot(t), 0o600))
				}
			})
		}
	}
}

func TestPageForAScreenReader(t *testing.T) {
	address := serve(t, bank(t))
	chromium := browser.Start(t)
	for _, width := range []int{360, 1280} { // on a phone the rows of tables are blocks, and tables all the same
		roles := chromium.Open(t, address, browser.Screen{Width: width, Height: 740}).Roles(t)
		for _, wanted := range []string{
			"banner: ", "main: ", "contentinfo: ", "navigation: On this page", "region: State of this repository", "region: Certification authorities",
			"region: Revocation", "region: Policies", "region: How to verify", "heading: Certificate repository", "article: Example Bank Root CA 2025",
			"table: Example Bank Server CA 3", "columnheader: Next update", "rowheader: Complete list", "link: PEM certificate of Example Bank People CA 1",
			"link: Changes (delta) of Example Bank Server CA 3",
		} {
			require.Contains(t, roles, wanted, "at %d pixels", width)
		}
	}
}

func TestPageDownloads(t *testing.T) {
	shown := browser.Start(t).Open(t, serve(t, bank(t)), browser.Screen{Width: 1280, Height: 900})
	for link, path := range map[string]string{
		`a[href="/ca/root.cer"]`: "/ca/root.cer", `a[href="/ca/bundle.p7c"]`: "/ca/bundle.p7c", `a[href="/crl/servers-delta.crl"]`: "/crl/servers-delta.crl",
	} {
		name, content := shown.Download(t, link)
		require.Equal(t, filepath.Base(path), name)
		require.Equal(t, "content of "+path, string(content))
	}
}
