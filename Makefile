# The two commands a person needs. Everything is built in the release profile, so that dependencies are compiled once.

.PHONY: run test

# Builds and starts a whole cluster in one process: data under ./undercroft-data, S3 on 127.0.0.1:9000.
run:
	cargo run --release -p undercroft -- dev

# Installs what the tests need (once), then runs all of them.
test:
	cargo xtask setup
	cargo test --workspace --release
