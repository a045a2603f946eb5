# Each target installs what it needs, on a Debian that has nothing but Rust. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help run build test lint bench fuzz loadtest dist train deb install install-files uninstall clean deps deps-test deps-lint deps-loadtest deps-train tools

CONFIG ?= conf/tidegate.yaml
FUZZ ?= 600
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
TARGET := $(or $(CARGO_TARGET_DIR),target)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
PGO := $(abspath $(TARGET))/pgo
comma := ,
TRAINED := $(TARGET)/dist/tidegate
TRAINING = loadtest/compare.py $(1) --programs tidegate --shapes plain,policies,jwt,composed,post-1k,large,tls,h2 --rounds 1 --seconds 3 --results $(PGO)
USED = $(PGO)/used/$(HOST)/dist/tidegate
# Where Debian has it: through its links in /usr/bin it does not find its own parts.
BOLT ?= /usr/lib/llvm-19/bin
# What is installed and packed, and where to. `make install BINARY=…` takes another one.
BINARY ?= $(TRAINED)
PREFIX ?= /usr/local
UNITS ?= /etc/systemd/system
NAME := tidegate-$(VERSION)-$(shell uname -m)

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 16

run: deps ## build, and run the gateway on CONFIG (conf/tidegate.yaml)
	cargo run --release --locked -- run --config $(CONFIG)

build: deps ## the optimised binary
	cargo build --release --locked

test: lint deps-test tools ## check the format, lint, run every test
	cargo test --locked

lint: deps deps-lint ## format and clippy; a warning is an error
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo check --locked --quiet --lib --manifest-path tests/fuzz/Cargo.toml --target-dir $(TARGET)/fuzz-check

bench: deps ## measure the parts: routing, each policy, composition
	cargo bench --locked --bench '*'

# The sanitizers look for what `unsafe` can break; there is none here.
fuzz: deps ## look for input that breaks JSON and the targets of parts, FUZZ seconds (600) for each
	@rustup toolchain list | grep -q ^nightly || rustup toolchain install nightly --profile minimal
	@$(TARGET)/tools/bin/cargo-fuzz --version 2>/dev/null | grep -q ' 0.13.2$$' || cargo install --quiet --locked --root $(TARGET)/tools cargo-fuzz@0.13.2
	for name in splice shape template path; do \
		mkdir -p $(TARGET)/fuzz/found/$$name && \
		PATH="$(abspath $(TARGET))/tools/bin:$$PATH" cargo +nightly fuzz run --fuzz-dir tests/fuzz --target-dir $(TARGET)/fuzz --sanitizer none $$name \
			$(TARGET)/fuzz/found/$$name tests/fuzz/seeds/$$name -- -dict=tests/fuzz/$$([ $$name = path ] && echo path || echo json).dict -max_len=600 -max_total_time=$(FUZZ) || exit 1; \
	done

loadtest: build deps-loadtest ## measure the whole under load, beside other gateways
	cargo build --release --locked --example pingora
	install -D $(TARGET)/release/examples/pingora $(TARGET)/tools/rivals/bin/pingora
	PATH="$(abspath $(TARGET))/tools/rivals/bin:$$PATH" loadtest/compare.py $(TARGET)/release/tidegate
	loadtest/composed.sh $(TARGET)/release/tidegate

dist: train ## the binary to ship, built twice, with config and licence, as dist/*.tar.gz
	rm -rf dist/$(NAME)
	mkdir -p dist/$(NAME)
	cp $(TRAINED) README.md CHANGELOG.md LICENSE dist/$(NAME)/
	cp -r conf systemd dist/$(NAME)/
	tar -C dist -czf dist/$(NAME).tar.gz $(NAME)
	@echo dist/$(NAME).tar.gz

# The compiler is told which ways through the code are taken, by a first build that counts them under load. Both must have the same profile, or the names
# in the code differ. With `--target` the flags are for what is built, and not for what builds it. Then BOLT, which has counted too, puts together what is
# run together: a request takes so much code that the processor waits for it more than for anything else. `make dist BOLT=` leaves that out. What was made
# has answered rightly before it is called by its name.
train: deps deps-train
	rm -rf $(PGO)/counts $(PGO)/layout $(TRAINED)
	mkdir -p $(PGO)/layout $(dir $(TRAINED))
	RUSTFLAGS="-Cprofile-generate=$(PGO)/counts" cargo build --profile dist --locked --target $(HOST) --target-dir $(PGO)/counting
	$(call TRAINING,$(PGO)/counting/$(HOST)/dist/tidegate)
	"$$(rustc --print sysroot)/lib/rustlib/$(HOST)/bin/llvm-profdata" merge -o $(PGO)/profile $(PGO)/counts
	RUSTFLAGS="-Cprofile-use=$(PGO)/profile $(if $(BOLT),-Clink-arg=-Wl$(comma)--emit-relocs)" cargo build --profile dist --locked --target $(HOST) --target-dir $(PGO)/used
	cp $(USED) $(PGO)/layout/tidegate
	$(if $(BOLT),$(call LAYOUT,$(PGO)/layout))
	$(call TRAINING,$(PGO)/layout/tidegate)
	mv $(PGO)/layout/tidegate $(TRAINED)

define LAYOUT
	$(BOLT)/llvm-bolt $(USED) -o $(1)/counting -instrument -instrumentation-file=$(1)/counts -instrumentation-file-append-pid
	$(call TRAINING,$(1)/counting)
	$(BOLT)/merge-fdata $(1)/counts.*.fdata -o $(1)/profile
	$(BOLT)/llvm-bolt $(USED) -o $(1)/tidegate -data=$(1)/profile \
		-reorder-blocks=ext-tsp -reorder-functions=cdsort -split-functions -split-all-cold -split-eh -icf=1
endef

deb: $(BINARY) ## a Debian package, as dist/*.deb
	systemd/debian/build $(BINARY) $(VERSION) dist

$(TRAINED):
	$(MAKE) train

install: install-files ## binary, config, unit and user, for systemd to start (as root)
	getent passwd tidegate >/dev/null || useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tidegate
	chown root:tidegate /etc/tidegate && chmod 0750 /etc/tidegate
	if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
	@echo "systemctl enable --now tidegate starts it; systemctl reload tidegate lets it take a running one's place"

# A config that is there stays. The binary is replaced by another file, since the present one may be running.
install-files: $(BINARY)
	install -D -m 755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/.tidegate.new
	mv $(DESTDIR)$(PREFIX)/bin/.tidegate.new $(DESTDIR)$(PREFIX)/bin/tidegate
	test -e $(DESTDIR)/etc/tidegate/tidegate.yaml || install -D -m 644 conf/tidegate.yaml $(DESTDIR)/etc/tidegate/tidegate.yaml
	install -d $(DESTDIR)$(UNITS)
	sed 's,/usr/bin/,$(PREFIX)/bin/,; s,/usr/share/,$(PREFIX)/share/,' systemd/tidegate.service >$(DESTDIR)$(UNITS)/tidegate.service
	install -m 644 systemd/tidegate.socket $(DESTDIR)$(UNITS)/tidegate.socket
	install -D -m 644 README.md $(DESTDIR)$(PREFIX)/share/doc/tidegate/README.md
	install -m 644 CHANGELOG.md $(DESTDIR)$(PREFIX)/share/doc/tidegate/CHANGELOG.md
	install -m 644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/tidegate/copyright
	install -D -m 644 systemd/README.md $(DESTDIR)$(PREFIX)/share/doc/tidegate/systemd/README.md
	cp -r conf/examples $(DESTDIR)$(PREFIX)/share/doc/tidegate/

uninstall: ## what `make install` has put there, but for the config, the logs and the user (as root)
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl disable --now tidegate.socket tidegate.service || true; fi
	rm -f $(DESTDIR)$(PREFIX)/bin/tidegate $(DESTDIR)$(UNITS)/tidegate.service $(DESTDIR)$(UNITS)/tidegate.socket
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/tidegate
	if [ -z "$(DESTDIR)" ] && [ -d /run/systemd/system ]; then systemctl daemon-reload; fi

clean: ## remove everything that was built
	cargo clean
	rm -rf dist loadtest/results

# Pingora's zlib is built with cmake; ring and mimalloc want a C compiler.
deps:
	@.ci/need cargo cc cmake

deps-test: deps
	@.ci/need nginx redis-server curl openssl

# Real peers for the tests, which look for them in tools/ beside what cargo builds: programs in Go in bin/, a Python with its packages in venv/, packages
# of Node in npm/.
tools: $(TARGET)/tools/go $(TARGET)/tools/python $(TARGET)/tools/node

$(TARGET)/tools/go: tests/tools/go.mod tests/tools/go.sum tests/tools/tools.go
	@.ci/need go
	@mkdir -p $(TARGET)/tools/bin
	cd tests/tools && GOBIN=$(abspath $(TARGET))/tools/bin go install -mod=readonly $$(go list -e -tags tools -f '{{join .Imports " "}}')
	@touch $@

$(TARGET)/tools/python: tests/tools/requirements.txt
	@.ci/need python3-venv
	rm -rf $(TARGET)/tools/venv
	python3 -m venv $(TARGET)/tools/venv
	$(TARGET)/tools/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --requirement tests/tools/requirements.txt
	@touch $@

$(TARGET)/tools/node: tests/tools/package.json tests/tools/package-lock.json
	@.ci/need node npm
	rm -rf $(TARGET)/tools/npm
	mkdir -p $(TARGET)/tools/npm
	cp tests/tools/package.json tests/tools/package-lock.json $(TARGET)/tools/npm/
	npm ci --prefix $(TARGET)/tools/npm --ignore-scripts --no-audit --no-fund --silent
	@touch $@

deps-train: deps
	@.ci/need wrk h2load nginx openssl python3 $(if $(BOLT),llvm-bolt-19)
	@rustup component list --installed | grep -q ^llvm-tools || rustup component add llvm-tools

deps-loadtest: deps $(TARGET)/tools/rivals/go
	@.ci/need wrk nginx haproxy curl h2load openssl python3

$(TARGET)/tools/rivals/python: loadtest/rivals/requirements.txt
	@.ci/need python3-venv
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --requirement loadtest/rivals/requirements.txt
	@touch $@

# What these want of Go they fetch themselves, if it is 1.21 at least: Debian 12 has an older one, and a newer one in its backports.
$(TARGET)/tools/rivals/go: loadtest/rivals/go.txt $(TARGET)/tools/rivals/python
	@.ci/need go
	@[ -n "$$(go env GOTOOLCHAIN)" ] || { echo "$$(go version) is too old: Go 1.21 or newer is needed, from the backports or https://go.dev/dl" >&2; exit 1; }
	for package in $$(cat $<); do GOBIN=$(abspath $(TARGET))/tools/rivals/bin GOTOOLCHAIN=auto go install $$package || exit 1; done
	@touch $@

# A minimal Rust toolchain has neither.
deps-lint: deps
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
