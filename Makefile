# Each target installs what it needs, on a Debian that has nothing but Rust. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run build test lint bench loadtest dist clean deps deps-test deps-lint deps-loadtest

CONFIG ?= conf/tidegate.yaml
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
TARGET := $(or $(CARGO_TARGET_DIR),target)
NAME := tidegate-$(VERSION)-$(shell uname -m)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: deps ## build, and run the gateway on CONFIG (conf/tidegate.yaml)
	cargo run --release --locked -- run --config $(CONFIG)

build: deps ## the optimised binary
	cargo build --release --locked

test: lint deps-test ## check the format, lint, run every test
	cargo test --locked

lint: deps deps-lint ## format and clippy; a warning is an error
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

bench: deps ## measure the parts: routing, policies
	cargo bench --locked --bench '*'

loadtest: build deps-loadtest ## measure the whole under load, with wrk
	loadtest/run.sh $(TARGET)/release/tidegate

dist: deps ## the binary to ship, with config and licence, as dist/*.tar.gz
	cargo build --profile dist --locked
	rm -rf dist/$(NAME)
	mkdir -p dist/$(NAME)
	cp $(TARGET)/dist/tidegate README.md CHANGELOG.md LICENSE dist/$(NAME)/
	cp -r conf dist/$(NAME)/
	tar -C dist -czf dist/$(NAME).tar.gz $(NAME)
	@echo dist/$(NAME).tar.gz

clean: ## remove everything that was built
	cargo clean
	rm -rf dist loadtest/results

# Pingora's zlib is built with cmake; ring and mimalloc want a C compiler.
deps:
	@.ci/need cargo cc cmake

deps-test: deps
	@.ci/need nginx curl

deps-loadtest: deps
	@.ci/need wrk nginx curl

# A minimal Rust toolchain has neither.
deps-lint: deps
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
