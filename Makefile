# `make demo` and `make test` need nothing done before them: each does all the set-up it wants.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
# Not quiet: on a slow line this takes a while, and pip says what it is at.
PIP_INSTALL := -m pip install --disable-pip-version-check
# Lava wants a Python 3.10 of its own; pyenv keeps its versions off the PATH.
LAVA_VENV   ?= .venv-lava
LAVA_PYTHON ?= $(firstword $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python) $(shell command -v python3.10))
LAVA_STAMP  := $(LAVA_VENV)/.installed

.PHONY: setup setup-lava system demo test test-all test-lowest test-sanitized bench lint clean zoo

setup: $(STAMP) setup-lava

$(STAMP): setup.cfg setup.py pyproject.toml constraints-dev.txt $(wildcard simulator/*/native/*)
	@echo "$(VENV): torch, SpikingJelly, ONNX Runtime and what tests need. About 400 MB to download where torch is a CPU"
	@echo "build, 3 GB where it comes with CUDA; then the engine is compiled, a minute or two."
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) $(PIP_INSTALL) -c constraints-dev.txt -e '.[all,dev]'
	touch $(STAMP)

setup-lava: $(if $(LAVA_PYTHON),$(LAVA_STAMP),no-python-3.10)

$(LAVA_STAMP): backends/lava/runtime/requirements.txt backends/netx/fetch_netx.py
	@echo "$(LAVA_VENV): Lava and NumPy for Python 3.10, about 100 MB to download"
	test -x $(LAVA_VENV)/bin/python || $(LAVA_PYTHON) -m venv $(LAVA_VENV)
	$(LAVA_VENV)/bin/python $(PIP_INSTALL) \
		-r backends/lava/runtime/requirements.txt 'h5py>=3.7,<4'
	$(LAVA_VENV)/bin/python backends/netx/fetch_netx.py $(LAVA_VENV)/netx
	touch $(LAVA_STAMP)

.PHONY: no-python-3.10
no-python-3.10:
	@echo "no Python 3.10 found: programs for Loihi can be exported, but not run in Lava here."
	@echo "Install one (pyenv install 3.10, or uv python install 3.10) and run make setup-lava LAVA_PYTHON=/path/to/it"

# System tools: the Verilog simulators that nc1 runs in, what synthesizes it,
# and Chromium, in which tests open the pages of reports.
TOOLS := iverilog verilator yosys chromium chromedriver
PACKAGES := iverilog verilator yosys chromium chromium-driver
system:
	@for tool in $(TOOLS); do command -v $$tool > /dev/null || missing=1; done; \
	if [ -z "$$missing" ]; then echo "all there: $(TOOLS)"; \
	elif command -v apt-get > /dev/null; then \
		if [ "$$(id -u)" = 0 ]; then run=; else run=sudo; fi; \
		echo "installing $(PACKAGES), about 250 MB to download"; \
		$$run apt-get update -qq && $$run apt-get install -y -qq --no-install-recommends $(PACKAGES) > /dev/null; \
	else echo "install $(TOOLS) with your package manager"; exit 1; fi

demo: setup
	mkdir -p out
	$(VENV)/bin/neurocompile demo --report out/demo.html --overwrite

test: setup
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-all: setup
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Random graphs through every executor for so many hours; it goes on where build/fuzz stopped (docs/fuzzing.md).
HOURS ?= 1
.PHONY: fuzz
fuzz: setup
	$(PY) -m tests.fuzz.graphs --hours $(HOURS) --count 100000000 --state build/fuzz

# The engine built with sanitizers, in a folder of its own; its tests and a sweep must run clean in it.
SANITIZED := build/sanitized
test-sanitized: setup
	@echo "compiling the engine with sanitizers, a minute or two"
	rm -rf $(SANITIZED)
	NEUROCOMPILE_SANITIZE=address,undefined $(PY) -m pip install --quiet --disable-pip-version-check --no-deps \
		--no-build-isolation --target $(SANITIZED) .
	cp -r tests pyproject.toml $(SANITIZED)
	cd $(SANITIZED) && export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)"; \
		$(CURDIR)/$(PY) -m tests.simulator.engine_sweep --networks 200 --seed 7 --threads 2 --json > sweep.json && \
		$(CURDIR)/$(PY) -m pytest -p no:cacheprovider -m "not slow" tests/simulator/test_engine.py

# Other libraries' neurons, live beside their programs; environments of their own, since nobody else needs them.
PEERS_VENV ?= .venv-peers
.PHONY: test-peers peers-nir
test-peers: setup peers-nir
	$(PEERS_VENV)/bin/python -m tests.peers.sweep
	$(PEERS_VENV)/bin/python -m pytest tests/models/test_nir_digits.py -k trains
	$(PY) -m benchmarks.nir --environments $(PEERS_VENV)

# sinabs wants an older nir, and Spyx is jax. What cannot be installed is named in the table, and the others are compared.
peers-nir:
	test -x $(PEERS_VENV)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)
	@echo "$(PEERS_VENV): torch, snnTorch and Norse, as large as $(VENV)"
	$(PEERS_VENV)/bin/python $(PIP_INSTALL) -c constraints-dev.txt \
		torch==2.13.0 snntorch==1.0.0 norse==1.1.0 nir==1.0.8 nirtorch==2.6 -e '.[all,dev]'
	@echo "$(PEERS_VENV)-sinabs, -rockpool and -spyx, 1 GB each where torch is a CPU build"
	-$(call peer,sinabs,torch==2.13.0 sinabs==3.1.3 nir==1.0.4 nirtorch==2.0.2)
	-$(call peer,rockpool,torch==2.13.0 rockpool==3.1.0 nir==1.0.8 nirtorch==2.6)
	-$(call peer,spyx,spyx==1.0.0 jax==0.10.2 flax==0.12.8 nir==1.0.8)

# nengo-loihi, whose cores ours are compared with; it wants an old NumPy, and that a Python 3.10.
.PHONY: peers-mapping
peers-mapping:
	@test -n "$(LAVA_PYTHON)" || { echo "no Python 3.10 found: make peers-mapping LAVA_PYTHON=/path/to/it"; exit 1; }
	test -x $(PEERS_VENV)-nengo/bin/python || $(LAVA_PYTHON) -m venv $(PEERS_VENV)-nengo
	@echo "$(PEERS_VENV)-nengo: nengo-loihi, about 60 MB to download"
	$(PEERS_VENV)-nengo/bin/python $(PIP_INSTALL) nengo-loihi==1.1.0 nengo==3.2.0 numpy==1.23.5 scipy==1.15.3

# NeuroBench's own metrics, which ours are compared with. torch is named first, so that its CPU build stays.
.PHONY: peers-neurobench
peers-neurobench:
	test -x $(PEERS_VENV)-neurobench/bin/python || $(PYTHON) -m venv $(PEERS_VENV)-neurobench
	@echo "$(PEERS_VENV)-neurobench: torch, SpikingJelly, snnTorch and NeuroBench, 1.5 GB where torch is a CPU build"
	$(PEERS_VENV)-neurobench/bin/python $(PIP_INSTALL) -c constraints-dev.txt \
		torch==2.13.0 neurobench==2.3.0 snntorch==1.0.0 nir==1.0.8 nirtorch==2.6 -e '.[torch,data,nir]'
	$(PEERS_VENV)-neurobench/bin/python -m benchmarks.neurobench

peer = (test -x $(PEERS_VENV)-$(1)/bin/python || $(PYTHON) -m venv $(PEERS_VENV)-$(1)) && \
	$(PEERS_VENV)-$(1)/bin/python $(PIP_INSTALL) $(2)

# Other versions of Python, torch, SpikingJelly and NumPy, each in an environment of its own; writes docs/versions.md.
.PHONY: test-versions
test-versions: setup
	$(PY) -m tests.versions

# Of these, the lower bounds of setup.cfg.
test-lowest: setup
	$(PY) -m tests.versions py311-lowest py311-plain-lowest

# What is published: the sdist and a wheel for this machine, checked.
.PHONY: dist wheels
dist: setup
	rm -rf dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*

# The engine for x86-64 and arm64, in containers (docker or podman; arm64 on x86-64 wants QEMU: docs/packaging.md).
wheels: setup
	$(PY) $(PIP_INSTALL) 'cibuildwheel>=3'
	$(PY) -m cibuildwheel --platform linux --output-dir dist

bench: setup
	$(PY) -m benchmarks.startup
	$(PY) -m benchmarks.mpbn_folding
	$(PY) -m benchmarks.quantization
	$(PY) -m benchmarks.generators --plot docs/generators.png
	$(PY) -m benchmarks.engine --plot docs/engine-ratio.png
	$(PY) -m benchmarks.engine_growth --plot docs/engine-growth.png

# The site of the documentation, in build/site; notebooks are run for it, and the gallery's reports made. A warning is an
# error. A minute or two, and the first time as long again: what pip installs, it builds.
DOCS_STAMP := $(VENV)/.docs
.PHONY: docs pictures
docs: setup $(DOCS_STAMP)
	$(if $(wildcard $(LAVA_VENV)/bin/python),NEUROCOMPILE_LAVA_PYTHON=$(CURDIR)/$(LAVA_VENV)/bin/python) \
		$(PY) -m sphinx -q -W --keep-going -b html docs build/site
	@echo "build/site/index.html"

$(DOCS_STAMP): $(STAMP)
	$(PY) $(PIP_INSTALL) -c constraints-dev.txt -e '.[all,dev,docs]'
	touch $@

# The pictures of README, of the gallery and of docs/onnx.md; wants Chromium.
pictures: setup
	$(PY) docs/gallery.py build/gallery --pictures docs/images
	$(PY) docs/onnx_picture.py docs/images/netron.png

# Every network of the papers, measured: half an hour.
zoo: setup
	$(PY) -m benchmarks.zoo --write docs/zoo.md

# mypy finds the mapped folders only in a real install.
lint: setup
	$(PY) -m ruff check .
	@echo "installing a copy into build/lint, for which the engine is compiled: a minute or two"
	rm -rf build/lint build/lib* build/bdist* build/temp*
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target build/lint .
	cd build/lint && ../../$(PY) -m mypy --config-file ../../pyproject.toml -p neurocompile

clean:
	rm -rf build dist $(VENV) .venv-versions $(LAVA_VENV)
