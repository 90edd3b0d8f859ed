module github.com/godurable/dog/test/browser

go 1.26.0

require (
	github.com/chromedp/chromedp v0.22.1 // drives Chromium
	github.com/godurable/dog v0.0.0 // serves the page of dog.js
	github.com/stretchr/testify v1.12.1 // require, as in all tests
)

require (
	github.com/chromedp/cdproto v0.159.0
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/tidwall/btree v1.8.2 // indirect
)

replace github.com/godurable/dog => ../..
