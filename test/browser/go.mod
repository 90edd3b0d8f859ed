module github.com/godurable/dog/test/browser

go 1.26.0

require (
	github.com/chromedp/chromedp v0.22.1 // drives Chromium
	github.com/stretchr/testify v1.12.1 // require, as in all tests
)

require (
	github.com/chromedp/cdproto v0.159.0 // indirect
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
