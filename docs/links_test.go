package docs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// markdown returns all pages of the repository, by their paths from here.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	texts := make(map[string]string)
	require.NoError(t, filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && (e.Name() == ".git" || e.Name() == "node_modules" || e.Name() == "testdata"):
			return fs.SkipDir
		case filepath.Ext(path) != ".md":
			return nil
		}
		page, err := os.ReadFile(path)
		texts[path] = string(page)
		return err
	}))
	require.Greater(t, len(texts), 15)
	return texts
}

var (
	link    = regexp.MustCompile(`\]\(([^)#\s]*)(?:#([^)\s]+))?(?: "([^"]*)")?\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// A pageLink is a link to a file of the repository.
type pageLink struct {
	from, to      string // paths from here
	anchor, title string
}

// links returns the links of a page to files of the repository.
func links(path, text string) (all []pageLink) {
	text = codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "`x`")
	for _, found := range link.FindAllStringSubmatch(text, -1) {
		l := pageLink{from: path, to: path, anchor: found[2], title: found[3]}
		if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
			continue
		}
		if found[1] != "" {
			l.to = filepath.Join(filepath.Dir(path), found[1])
		}
		all = append(all, l)
	}
	return all
}

// anchors returns the anchors that GitHub gives to the headings of a page.
func anchors(text string) map[string]bool {
	all := make(map[string]bool)
	for _, found := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		slug := strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(found[1]), ""), " ", "-")
		name := slug
		for n := 1; all[name]; n++ {
			name = fmt.Sprint(slug, "-", n)
		}
		all[name] = true
	}
	return all
}

// Links lead to files that are there, and to headings that these have. One with
// the name of a test as its title leads to the file that declares it.
func TestPages_LinksResolve(t *testing.T) {
	pages := markdown(t)
	withAnchor := 0
	for path, text := range pages {
		for _, l := range links(path, text) {
			if _, err := os.Stat(l.to); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if l.anchor != "" {
				withAnchor++
				if !anchors(pages[l.to])[l.anchor] {
					t.Errorf("%s: %s has no heading %s", path, l.to, l.anchor)
				}
			}
			if strings.HasPrefix(l.title, "Test") && !declares(t, l.to, l.title) {
				t.Errorf("%s: %s does not declare %s", path, l.to, l.title)
			}
		}
	}
	require.NotZero(t, withAnchor)
}

// declares reports whether a file of tests declares the test.
func declares(t *testing.T, file, test string) bool {
	t.Helper()
	code, err := os.ReadFile(file)
	require.NoError(t, err)
	return strings.Contains(string(code), "\nfunc "+test+"(")
}

const readme = "../README.md"

// linksOfPoints returns the links of each point of a section of the README,
// which has at least one, by the point.
func linksOfPoints(t *testing.T, section string) map[string][]pageLink {
	t.Helper()
	_, text, found := strings.Cut(pages(t)[readme], "\n## "+section+"\n")
	require.True(t, found)
	text, _, _ = strings.Cut(text, "\n## ")
	points := make(map[string][]pageLink)
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "- ") {
			points[line] = links(readme, line)
			require.NotEmpty(t, points[line], line)
		}
	}
	return points
}

// Each promise of the README links to a test that holds it, by its name.
func TestReadme_PromisesNameTheirTests(t *testing.T) {
	promises := linksOfPoints(t, "What is promised")
	require.Greater(t, len(promises), 5)
	for _, held := range promises {
		for _, l := range held {
			require.Regexp(t, "^Test", l.title, "the title of a link to %s is its test", l.to)
		}
	}
}

// Each statement of the README about speed links to where it was measured.
func TestReadme_FiguresLinkToTheirSections(t *testing.T) {
	figures := linksOfPoints(t, "How fast")
	require.NotEmpty(t, figures)
	for line, measured := range figures {
		for _, l := range measured {
			require.Equal(t, "../docs/figures.md", l.to)
			require.NotEmpty(t, l.anchor, line)
		}
	}
}

// Each section of the figures that a page links to names a command that repeats
// it.
func TestFigures_LinkedSectionsNameTheirCommand(t *testing.T) {
	const figures = "../docs/figures.md"
	pages := markdown(t)
	linked := make(map[string]bool)
	for path, text := range pages {
		for _, l := range links(path, text) {
			if l.to == figures && l.anchor != "" && !linked[l.anchor] {
				linked[l.anchor] = true
				require.Regexp(t, command, section(pages[figures], l.anchor), "%s, which %s links to", l.anchor, path)
			}
		}
	}
	require.Greater(t, len(linked), 2)
}

// command is a command of the bench or of a test, as code.
var command = regexp.MustCompile("(?s)(?:`|`[^`\n]* && |```sh\n[^`]*)go (?:run \\./|test )[^`]+`")

// section returns the text of a section with its subsections, by its anchor.
func section(text, anchor string) string {
	all := heading.FindAllStringIndex(text, -1)
	level := func(i int) int { return strings.IndexByte(text[all[i][0]:], ' ') }
	for i, at := range all {
		if !anchors(text[at[0]:at[1]])[anchor] {
			continue
		}
		end := len(text)
		for j := i + 1; j < len(all); j++ {
			if level(j) <= level(i) {
				end = all[j][0]
				break
			}
		}
		return text[at[1]:end]
	}
	return ""
}

func TestPages_AnchorsAreThoseOfGitHub(t *testing.T) {
	require.Equal(t, map[string]bool{
		"one-that-stores": true, "clients-dogv1": true, "same": true, "same-1": true,
	}, anchors("# One that stores\n## Clients: `dog.v1`\n# Same\n```\n# no heading\n```\n# Same\n"))
}
