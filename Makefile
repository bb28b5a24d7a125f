# `make demo` and `make test` need nothing done before them: each does all the set-up it wants.
PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: setup system demo test test-all test-lowest bench lint clean

setup: $(STAMP)

$(STAMP): setup.cfg pyproject.toml constraints-dev.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints-dev.txt -e '.[dev]'
	touch $(STAMP)

# System tools (simulators, compilers, browsers) that later backends call. None is needed yet.
system:
	@echo "no system tools needed"

demo: setup
	$(VENV)/bin/neurocompile demo

test: setup
	$(PY) -m pytest -n 2 -m "not slow"

test-all: setup
	$(PY) -m pytest -n 2

# The lower bounds of setup.cfg, in an environment of their own.
test-lowest:
	test -x $(VENV)-lowest/bin/python || $(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[dev]'
	$(VENV)-lowest/bin/python -m pytest -n 2 -m "not slow"

bench: setup
	$(PY) -m benchmarks.startup
	$(PY) -m benchmarks.mpbn_folding
	$(PY) -m benchmarks.quantization

# mypy finds the mapped folders only in a real install.
lint: setup
	$(PY) -m ruff check .
	rm -rf build
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --target build/lint .
	cd build/lint && ../../$(PY) -m mypy --config-file ../../pyproject.toml -p neurocompile

clean:
	rm -rf build dist $(VENV) $(VENV)-lowest
