module github.com/godurable/dog

go 1.26.0

require (
	github.com/cockroachdb/pebble/v2 v2.1.7 // package disk: the storage engine
	github.com/coder/websocket v1.8.15 // the handshake of WebSockets, and their close codes
	github.com/google/uuid v1.6.0 // IDs of sockets
	github.com/grafana/grafana-foundation-sdk/go v0.0.22 // tests: the schema of dashboards, for dogprom
	github.com/ncruces/go-sqlite3 v0.35.6 // package disk: SQLite, without cgo
	github.com/prometheus/client_golang v1.25.0 // package dogprom: the Collector; Pebble requires it, too
	github.com/stretchr/testify v1.12.1 // tests: require
	github.com/tidwall/btree v1.8.2 // ordered sets: alarms by their time, the keys of a store in memory
	go.uber.org/goleak v1.3.0 // tests: no goroutine outlives them
	golang.org/x/sys v0.48.0 // what syscall lacks: files, memory maps, sockets
	pgregory.net/rapid v1.3.0 // tests: random runs against a model
)

require (
	github.com/DataDog/zstd v1.5.7 // indirect
	github.com/RaduBerinde/axisds v0.1.0 // indirect
	github.com/RaduBerinde/btreemap v0.0.0-20250419174037-3d62b7205d54 // indirect
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/cockroachdb/crlib v0.0.0-20241112164430-1264a2edc35b // indirect
	github.com/cockroachdb/errors v1.11.3 // indirect
	github.com/cockroachdb/logtags v0.0.0-20230118201751-21c54148d20b // indirect
	github.com/cockroachdb/redact v1.1.5 // indirect
	github.com/cockroachdb/swiss v0.0.0-20260820225851-333444432258 // indirect
	github.com/cockroachdb/tokenbucket v0.0.0-20230807174530-cc333fc44b06 // indirect
	github.com/getsentry/sentry-go v0.27.0 // indirect
	github.com/gogo/protobuf v1.3.2 // indirect
	github.com/golang/snappy v0.0.5-0.20231225225746-43d5d4cd4e0e // indirect
	github.com/klauspost/compress v1.20.1 // indirect
	github.com/kr/pretty v0.3.1 // indirect
	github.com/kr/text v0.2.0 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/minio/minlz v1.0.1-0.20250507153514-87eb42fe8882 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/ncruces/go-sqlite3-wasm/v6 v6.3.35304 // indirect
	github.com/ncruces/julianday v1.0.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	github.com/rogpeppe/go-internal v1.9.0 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/exp v0.0.0-20230626212559-97b1e661b5df // indirect
	golang.org/x/text v0.42.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)
