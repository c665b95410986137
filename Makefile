# The front door. Each target builds what it needs in .venv; nothing is installed elsewhere.
#   PYTHON=python3.12   the interpreter that .venv is made with (`make clean` first to change it)
#   ARGS="-k fifo"      more arguments for pytest, for the demo or for the benchmarks

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
BOOTSTRAP := command -v "$(PYTHON)" >/dev/null || { echo "unotify: error: there is no $(PYTHON) here:" \
	"apt-get install python3 python3-venv, or name another: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	"$(PYTHON)" tools/bootstrap.py

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-long lint bench docs clean kernel

help: ## this list
	@echo "unotify: the system-call supervisor for Linux"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: kernel $(VENV)/.for-run ## supervise a real shell and carry out its mount: about five seconds
	@$(VENV)/bin/unotify demo $(ARGS)

test: kernel $(VENV)/.for-test ## run all tests; as root, the kernel tests also as an ordinary user
	@$(PY) -m tools.run_tests $(ARGS)

test-long: kernel $(VENV)/.for-test ## the same with full storms and many more examples: up to an hour
	@UNOTIFY_TEST_LONG=1 $(PY) -m tools.run_tests $(ARGS)

lint: $(VENV)/.for-lint ## formatting, ruff, mypy --strict, the contracts between rooms, spelling
	$(PY) -m ruff format --check
	$(PY) -m ruff check
	$(PY) -m mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/codespell

bench: kernel $(VENV)/.for-run ## measure the round trip; tables here, JSON in benchmarks/out/
	@$(PY) -m benchmarks $(ARGS)

docs: $(VENV)/.for-docs ## build the documentation in docs/_build/html
	$(PY) -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean: ## remove what make made
	rm -rf $(VENV) $(VENV)-* build dist docs/_build docs/_generated benchmarks/out src/*.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests tools docs examples benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# One sentence and the cure, where the kernel cannot do it.
kernel:
	@$(BOOTSTRAP) --check-kernel

$(VENV)/.for-run: pyproject.toml tools/bootstrap.py $(wildcard src/unotify/kernel/_*.[ch])
	@$(BOOTSTRAP) $(VENV)
	@touch $@

$(VENV)/.for-%: $(VENV)/.for-run
	@$(BOOTSTRAP) $(VENV) $*
	@touch $@
