# The two commands a newcomer needs: `make demo` and `make test`. Both set everything up first.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
EXTRAS ?= mediapipe,samples,ray,dev
# PyTorch of the default index brings 14 nvidia packages (2.5 GB). Where there is no card the build
# for the CPU is taken, unless pip is told of an index of its own; TORCH_INDEX= takes the default.
TORCH_INDEX ?= $(shell test -e /dev/nvidia0 || test -e /dev/kfd || test "$$(uname -s)" != Linux \
    || $(PYTHON) -m pip config list 2>/dev/null | grep -q index-url \
    || env | grep -q ^PIP_.*INDEX_URL || echo https://download.pytorch.org/whl/cpu)
# Where `make benchmark` writes, with the page beside it; docs/benchmarks.json is what is published.
RECORD ?= build/benchmarks.json
TURNS ?= 5
# Two spinning OpenMP threads on a busy machine cost more than they bring (see docs/install.md).
export OMP_NUM_THREADS ?= 1

.PHONY: help setup demo test lint docs benchmark zoo zoo-check test-originals clean

help:
	@echo "make demo            set up, run all nine subcommands offline, write an HTML report"
	@echo "make test            set up, lint, type-check and run the tests"
	@echo "make docs            build the documentation site into build/docs"
	@echo "make benchmark       measure against named peers, say which goals are reached (goes on)"
	@echo "make zoo             train the miniature models from nothing (hours; goes on where it was)"
	@echo "make zoo-check       measure the miniatures again and hold them to their cards"
	@echo "make test-originals  compare with the original packages in an environment of their own"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	index='$(TORCH_INDEX)'; $(BIN)/pip install --quiet --disable-pip-version-check \
	    $${index:+--extra-index-url "$$index"} -c constraints.txt -e '.[$(EXTRAS)]'
	@$(BIN)/python -c "import sys; sys.version_info < (3, 13) or print('setup: MediaPipe 0.10.14 has' \
	    ' no build for Python %d.%d: the offline profile and the photographs of the demo are left' \
	    ' out; Python 3.11 or 3.12 has them' % sys.version_info[:2])"
	touch $@

demo: setup
	$(MAKE) -j2 -f pipelines/demo.mk SOCIALCLI=$(BIN)/socialcli

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict -f docs/site/mkdocs.yml

benchmark: setup
	$(BIN)/python -m socialcli.benchmarks --record $(RECORD) --turns $(TURNS)

zoo zoo-check: setup
	$(MAKE) -f pipelines/zoo.mk PYTHON=$(BIN)/python $@

test-originals:
	bash tests/originals/run.sh

clean:
	rm -rf demo build/docs .pytest_cache .mypy_cache .ruff_cache
