# Bare `make` prints this file's targets. Everything is a thin call of cargo or of a script in scripts/.

.DEFAULT_GOAL := help
SHELL := /bin/bash
# rustup installs here, and a fresh shell may not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

CARGO ?= cargo
MODEL ?= models/demo-q8_0.gguf
PROMPT ?= Who are you?
ARGS ?=

##@ Use
build: need-cargo ## build the release binary: target/release/qwen-edge
	$(CARGO) build --release --locked

run: build ## answer a prompt: make run [MODEL=file.gguf] [PROMPT="..."] [ARGS="--ctx 4096"]
	@test -e "$(MODEL)" || { echo "no file $(MODEL): name a Qwen3.5 GGUF, make run MODEL=path/to/model.gguf" >&2; exit 1; }
	target/release/qwen-edge run "$(MODEL)" -p "$(PROMPT)" $(ARGS)

serve: build ## answer over HTTP: make serve [MODEL=file.gguf] [ARGS="--port 9000"]
	target/release/qwen-edge serve "$(MODEL)" $(ARGS)

install: need-cargo ## cargo install this checkout
	$(CARGO) install --locked --path .

##@ Test
test: need-cargo ## run every test of the workspace
	$(CARGO) test --workspace --locked

check: lint test ## what a reviewer runs: formatting, clippy and docs with warnings denied, then the tests

lint: need-cargo ## the part of check that runs no test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	$(CARGO) clippy --lib --no-default-features --locked -- -D warnings
	$(CARGO) clippy --lib --no-default-features --features serve --locked -- -D warnings
	$(CARGO) clippy --bins --no-default-features --features cli --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items --locked
	@! command -v python3 >/dev/null || { python3 scripts/check_docs.py && python3 scripts/plots.py --check; }

check-docs: build ## links, targets, commands and options that the documentation names; figures and their data
	python3 scripts/check_docs.py --prove
	python3 scripts/check_docs.py target/release/qwen-edge
	python3 scripts/plots.py --prove
	python3 scripts/plots.py --check

CLIENTS := target/clients
clients: ## fetch the packages for Python that test-clients needs
	@test -e $(CLIENTS)/bin/python || python3 -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet --requirement tests/clients/requirements.txt

PROGRAM ?= target/release/qwen-edge
test-clients: $(if $(filter target/release/%,$(PROGRAM)),build) clients ## packages for Python: openai, langchain-openai, anthropic, litellm and ollama talk to the server, jsonschema judges it, huggingface_hub shares its cache
	for client in openai openai_responses langchain anthropic litellm ollama; do \
		$(CLIENTS)/bin/python tests/clients/with_$$client.py $(PROGRAM) models/demo-q8_0.gguf || exit 1; done
	$(CLIENTS)/bin/python tests/clients/with_schemas.py $(PROGRAM) models/demo-q8_0.gguf --answers 100
	QWEN_EDGE_PYTHON=$(CLIENTS)/bin/python $(CARGO) test --locked --test all pull::the_hubs_own_client -- --ignored

PAGE := target/page
page-tools: ## fetch what test-page needs beside a Chromium
	@test -e $(PAGE)/bin/python || python3 -m venv $(PAGE)
	$(PAGE)/bin/pip install --quiet --requirement tests/page/requirements.txt

test-page: build page-tools ## headless Chromium uses the server's page, and axe-core judges it: make test-page [ARGS="--only picture"]
	$(PAGE)/bin/python tests/page/drive.py target/release/qwen-edge models/demo-q8_0.gguf models/mmproj-demo.gguf $(ARGS)

page-pictures: ## take the pictures of the page in docs/ anew
	$(MAKE) test-page ARGS="--pictures docs"

SOAK_SECONDS ?= 3600
soak: build ## 10,000 mixed requests in an hour, and what they leave in memory: make soak [SOAK_SECONDS=3600] [ARGS="--requests 10000"]
	python3 tests/clients/soak.py target/release/qwen-edge "$(MODEL)" --seconds $(SOAK_SECONDS) $(ARGS)

bench-cache: build ## what keeping prompts costs short ones and saves long ones: make bench-cache MODEL=file.gguf [ARGS="9 --lengths 1,16,64"]
	python3 scripts/bench_cache.py target/release/qwen-edge "$(MODEL)" $(ARGS)

reuse-table: need-cargo ## what is read of prompts, against the least possible: agents, a chat, edits, retries, branches
	$(CARGO) test --test all --locked -- --ignored --nocapture reuse::a_table

test-long: need-cargo ## the tests that take minutes: a context of 262,144 tokens, filled
	$(CARGO) test --workspace --locked -- --ignored

verify: build clients ## the long lists, before an issue is closed: 2,000 random histories, the release binary's server, answers that keep to schemas, test-page, test-long, test-arm, test-windows, test-android, the programs for Windows and macOS, every package; two hours or more, as root
	$(CLIENTS)/bin/python tests/clients/with_schemas.py target/release/qwen-edge models/demo-q8_0.gguf
	QWEN_EDGE_TEST_HISTORIES=2000 $(CARGO) test --test all --locked sequences::
	QWEN_EDGE_TEST_PROGRAM=$(CURDIR)/target/release/qwen-edge $(CARGO) test --test all --locked serve
	$(MAKE) test-page test-long test-arm test-windows test-android static-windows static-macos
	$(MAKE) packages test-packages
	@echo "verified: commit $$(git rev-parse HEAD)$$(git diff --quiet HEAD || echo , with changes)"

test-arm: need-cargo ## run the tests as aarch64 programs, emulated as Cortex-A72, Cortex-A76 and max
	scripts/test-arm.sh full

test-arm-short: need-cargo ## the part of test-arm that a check of every commit can afford
	scripts/test-arm.sh short

test-windows: need-cargo ## run the tests as Windows programs under wine, then every held-out question there and here: the same text
	scripts/test-windows.sh full
	$(CARGO) build --locked
	scripts/same_answers.py target/debug/qwen-edge target/windows/run target/x86_64-pc-windows-gnu/debug/qwen-edge.exe

test-windows-short: need-cargo ## the part of test-windows that a check of every commit can afford
	scripts/test-windows.sh short

test-android: static-arm ## the static aarch64 binary makes no system call that Android ends an app for; one for x86-64 runs under such a filter
	scripts/test_android.py traced dist/qwen-edge-aarch64
	scripts/static-musl.sh
	scripts/test_android.py native target/x86_64-unknown-linux-musl/release/qwen-edge

test-names: static ## the static binary finds a hub by its name where there is nothing but /etc/resolv.conf
	python3 scripts/test_names.py dist/qwen-edge-x86_64

test-amx: need-cargo ## run the tests of the AMX level on an emulated CPU with tiles: ten minutes or more
	scripts/test-amx.sh

eval-demo: build ## score the demo model on its held-out questions, through the program
	python3 models/demo/eval.py program target/release/qwen-edge models/demo-q8_0.gguf --mmproj models/mmproj-demo.gguf $(ARGS)

##@ Measure
bench: build ## speed of prefill and decode: make bench [MODEL=file.gguf] [ARGS="..."]
	target/release/qwen-edge bench "$(MODEL)" $(ARGS)

bench-peer: build ## qwen-edge and llama.cpp on the same file in turn: make bench-peer MODEL=file.gguf [ARGS="-p 512"]
	scripts/bench_peer.sh "$(MODEL)" $(ARGS)

SYNTH := models/synth-qwen35-0.8b
bench-vision: build ## qwen-edge and llama.cpp's mtmd looking at a picture in turn: make bench-vision [IMAGE=file] [ARGS="--isa avx2"]
	@test -e $(SYNTH)-q4_k_m.gguf || target/release/qwen-edge synth --size 0.8b --quant q4_k_m -o $(SYNTH)-q4_k_m.gguf
	@test -e $(SYNTH)-f16-mmproj.gguf || target/release/qwen-edge synth --size 0.8b --quant f16 --mmproj -o $(SYNTH)-f16-mmproj.gguf
	PEER_SCRIPT=bench_vision.py scripts/bench_peer.sh $(SYNTH)-q4_k_m.gguf $(SYNTH)-f16-mmproj.gguf $(IMAGE) $(ARGS)

bench-batch: build ## eight prompts together and one by one in turn: make bench-batch [MODEL=file.gguf] [ARGS="5 --isa avx2"]
	python3 scripts/bench_batch.py target/release/qwen-edge "$(MODEL)" $(ARGS)

bench-serve: build ## how a server does under load: make bench-serve [MODEL=file.gguf] [ARGS="--mmproj FILE --peer LLAMA_SERVER --isa avx2"]
	python3 scripts/bench_serve.py target/release/qwen-edge "$(MODEL)" $(ARGS)

bench-drafts: build ## what drafting does for each task of the demo model: make bench-drafts [ARGS="--rounds 5"]
	python3 scripts/bench_drafts.py target/release/qwen-edge models/demo-q8_0.gguf models/demo/heldout.jsonl $(ARGS)

boards: need-cargo ## cycles of the Arm loops by llvm-mca, and the tokens a second that follow for Raspberry Pi 4 and 5
	python3 scripts/boards.py

EXPERTS := models/synth-qwen35-35b-a3b-skew-1-q4_k_m
experts-table: build ## tokens a second of a sparse model against the memory given, in control groups: make experts-table [MODEL=file.gguf] [ARGS="--memory 4,8"]
	@test "$(origin MODEL)" != file -o -e $(EXPERTS).gguf || target/release/qwen-edge synth --size 35b-a3b --expert-skew 1 -o $(EXPERTS).gguf
	python3 scripts/bench_experts.py target/release/qwen-edge $(if $(filter file,$(origin MODEL)),$(EXPERTS).gguf,"$(MODEL)") $(ARGS)

SIZE ?= 0.8b
QUANT ?= q4_k_m
OUT ?= models/synth-qwen35-$(SIZE)-$(QUANT)$(if $(MTP),-mtp).gguf
synth: build ## random weights to measure with: make synth [SIZE=0.8b] [QUANT=q4_k_m] [MTP=1] [OUT=file] [VOCAB=file.gguf]
	@if test -e "$(OUT)"; then echo "$(OUT) is there already" >&2; else \
	  target/release/qwen-edge synth --size $(SIZE) --quant $(QUANT) $(if $(MTP),--mtp) \
	    $(if $(VOCAB),--vocab "$(VOCAB)") -o "$(OUT)" $(ARGS); fi

budgets: build ## most resident memory of every size, BF16 at 4k and Q4_K_M at 32k and 262k: make budgets [SIZES="0.8b 2b"]
	scripts/budgets.sh $(SIZES)

##@ Ship
static: need-cargo ## static x86-64 binary for every x86-64 CPU: dist/qwen-edge-x86_64
	scripts/static.sh x86_64

static-arm: need-cargo ## static aarch64 binary for every Armv8 CPU: dist/qwen-edge-aarch64
	scripts/static.sh aarch64

static-windows: need-cargo ## program for Windows on x86-64, one file: dist/qwen-edge-x86_64.exe
	scripts/static-windows.sh

static-macos: need-cargo ## programs for macOS, built and linked, not run: dist/qwen-edge-macos-aarch64 and -x86_64
	scripts/static-macos.sh

dist: static static-arm ## archives with binary, man pages, completions, manual, licences and checksums, in dist/
	python3 scripts/packages/archive.py build
	python3 scripts/packages/sums.py build

deb: static static-arm ## Debian packages for amd64 and arm64, in dist/
	python3 scripts/packages/deb.py build

PACKAGES := prove archive deb oci wheel npm sums manifests
packages: static static-arm ## every package of what lies in dist/: archives, .deb, container images, wheels, npm, checksums, manifests
	$(MAKE) packages-of-dist

packages-of-dist: ## the same, of the binaries as they lie in dist/
	@for package in $(PACKAGES); do python3 scripts/packages/$$package.py build || exit 1; done

test-packages: ## each package in a root of its own: installed, asked, removed without a trace; a log of each in dist/logs (takes root)
	@mkdir -p dist/logs
	@for package in $(PACKAGES); do began=$$SECONDS; \
	  python3 scripts/packages/$$package.py test >dist/logs/$$package.log 2>&1 || { cat dist/logs/$$package.log >&2; exit 1; }; \
	  grep -E 'nothing is left|not tried|no answer|not judged' dist/logs/$$package.log; \
	  echo "$$package: passed in $$((SECONDS - began)) s (dist/logs/$$package.log)"; done

answers: static static-arm ## the same greedy text from both static binaries at every level: make answers [MODEL=file.gguf]
	scripts/answers.sh "$(MODEL)"

package: need-cargo ## pack every member as for the registry and build what is packed; nothing is published
	$(CARGO) publish --workspace --dry-run --locked $(ARGS)

reproducible: need-cargo ## build the static binaries twice, in different directories, and compare the bytes
	scripts/reproducible.sh

plots: ## draw the figures of the documentation from docs/data
	python3 scripts/plots.py

##@ House
clean: ## remove everything that was built
	rm -rf target dist

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing; get Rust with: curl --proto '=https' -sSf https://sh.rustup.rs | sh" >&2; exit 1; }

.PHONY: test-windows test-windows-short test-android static-windows static-macos packages packages-of-dist test-packages check-docs plots build run serve install test clients test-clients page-tools test-page page-pictures soak check lint test-long verify test-arm test-arm-short test-names test-amx eval-demo bench bench-peer bench-vision bench-batch bench-serve bench-drafts bench-cache reuse-table boards experts-table synth budgets static static-arm dist deb answers package reproducible clean help need-cargo
