# PORT and DATA_DIR, in the environment or on the command line (make run PORT=9000), reach the programs.

PYTHON ?= python3
# Most tests wait for processes of their own: twice as many at once as there are cores in CI.
PYTEST_ARGS ?= -n 4 --dist worksteal

bin := .venv/bin
pip := $(bin)/pip --disable-pip-version-check
# What has been installed last; newer requirements are installed again.
installed := .venv/.installed
installed_dev := .venv/.installed-dev
requirements := requirements.txt requirements-speech.txt constraints.txt
packages := $(wildcard jobs routing streaming sandbox transcribe_project)

.PHONY: help run test lint audit bench faults clean
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

run: $(installed) ## everything on one address, with nothing else to install (PORT, DATA_DIR)
	@exec $(bin)/python manage.py runstack

test: lint ## lint, then all tests but the full loads, those of the database on SQLite too (PYTEST_ARGS)
	TEST_DATABASE=sqlite $(bin)/python -m pytest -m database $(PYTEST_ARGS)
	$(bin)/python -m pytest $(PYTEST_ARGS)

# mypy's Django plugin loads the settings, which make a secret key in DATA_DIR.
lint: $(installed_dev) ## ruff, mypy, import-linter
	$(bin)/ruff check .
	DATA_DIR=.mypy_cache/data $(bin)/mypy $(packages)
	$(bin)/lint-imports

audit: $(installed_dev) ## ask for known vulnerabilities of what is pinned (OSV_URL)
	@.ci/audit

bench: $(installed_dev) ## measure; writes bench/results/
	$(bin)/python -m bench

faults: $(installed_dev) ## the fault tests at full load (minutes)
	TEST_PATIENCE=1 $(bin)/python -m pytest -m full_load tests/faults $(PYTEST_ARGS) -n 0

clean: ## remove the environment and the caches; the data in var/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis staticfiles
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(bin)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv

$(installed): $(requirements) | $(bin)/python
	@echo "Installing the requirements into .venv (about a minute the first time)"
	@$(pip) install --quiet -r requirements.txt -c constraints.txt
	@$(install_speech)
	@touch $@

$(installed_dev): requirements-dev.txt $(requirements) | $(bin)/python
	@echo "Installing the development requirements into .venv (about a minute the first time)"
	@$(pip) install --quiet -r requirements-dev.txt -c constraints.txt
	@$(install_speech)
	@touch $(installed) $@

# Not every platform has it (see requirements-speech.txt), and everything else works without.
define install_speech
$(pip) install --quiet -r requirements-speech.txt -c constraints.txt || \
	echo "Offline speech recognition is not available here: set DEEPGRAM_API_KEY for real transcripts." >&2
endef
