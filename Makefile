# The book's commands. `make help` says what each is for.
VENV ?= .venv
# Once chosen, the environment's own Python is kept until another is named.
PYTHON ?= $(firstword $(wildcard $(VENV)/bin/python $(VENV)/Scripts/python.exe) python3)
DEVICE ?= auto
SCALE ?= small
SEED ?= 0
ONLY ?=
PORT ?= 8000
JOBS ?= 2

# A mistyped name (DEVCE=cuda) would be silently ignored by make.
KNOWN := PYTHON VENV DEVICE SCALE SEED ONLY PORT JOBS
GIVEN := $(foreach word,$(MAKEOVERRIDES),$(if $(findstring =,$(word)),$(firstword $(subst =, ,$(word)))))
UNKNOWN := $(filter-out $(KNOWN),$(GIVEN))
$(if $(UNKNOWN),$(error unknown parameter $(UNKNOWN); there are: $(KNOWN)))

# Windows puts a virtual environment's programs elsewhere.
BIN := $(if $(filter Windows_NT,$(OS)),$(VENV)/Scripts,$(VENV)/bin)
RUN := PYTHONUTF8=1 PYTHONWARNDEFAULTENCODING=1 '$(BIN)/python' -W ignore::EncodingWarning

.PHONY: help install site serve test notebooks refresh bench lint clean
.DEFAULT_GOAL := help

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "%-11s %s\n", $$1, $$2}' Makefile

install:  ## set up the environment, unless it is up to date
	@command -v '$(PYTHON)' >/dev/null || { echo "error: there is no $(PYTHON); install Python 3.11 or newer, or name it: make PYTHON=..." >&2; exit 1; }
	@'$(PYTHON)' tools/install.py '$(VENV)'

site: install  ## render the site from the stored outputs into _build/html
	@$(RUN) -m tools.site

serve: site  ## render the site and serve it at http://localhost:PORT
	@$(RUN) -m tools.serve $(PORT)

test: install  ## run every test, every notebook among them
	@$(RUN) -m pytest -n $(JOBS)

notebooks: install  ## execute pages: DEVICE=cuda SCALE=full SEED=1 ONLY=autograd
	@$(RUN) -m tools.notebooks run --device '$(DEVICE)' --scale '$(SCALE)' --seed '$(SEED)' --only '$(ONLY)' --jobs $(JOBS)

refresh: install  ## execute pages at their defaults and store the outputs: ONLY=
	@$(RUN) -m tools.notebooks refresh --only '$(ONLY)'

bench: install  ## measure each page's time and memory for the site
	@$(RUN) -m benchmarks.costs

lint: install  ## check style and the anatomy of pages, without executing
	@$(RUN) -m pytest -q tests/test_anatomy.py

clean:  ## remove everything that was built, but not the environment
	rm -rf _build .pytest_cache .ruff_cache .hypothesis *.egg-info
