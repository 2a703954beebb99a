# Needs only make and a Python 3.11 or later that has venv; everything else goes into .venv.
# `make` alone lists the targets.

PYTHON ?= python3
# For `make serve`; what is left empty is the server's own default.
PORT ?=
CHECKPOINT ?=
# For `make adapt`.
DATA ?=
OUT ?= checkpoints/mine
MINUTES ?=
NO_ALIGN ?=
DRY_RUN ?=
# Not ?=, since some shells export HOST as the machine's name, which is nothing to listen on.
HOST :=

CHROMIUMS := chromium chromium-browser google-chrome

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Each stamp says what .venv holds; it is made again when the pins or the dependencies change.
SERVE_STAMP := $(VENV)/.serve-installed
TEST_STAMP := $(VENV)/.test-installed

.DEFAULT_GOAL := help
.PHONY: help serve adapt setup test lint bench constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  make serve PORT=9000 HOST=0.0.0.0 CHECKPOINT=FOLDER   elsewhere, or with other weights"
	@echo "  make adapt DATA=PHOTOS OUT=checkpoints/mine MINUTES=30   called again, it goes on where it was stopped"
	@echo "  make adapt DATA=PHOTOS NO_ALIGN=1   leaves photographs as they are, and does not centre plates"
	@echo "  make adapt DATA=PHOTOS DRY_RUN=1   says what is in the folder and how names are understood, and stops"

serve: $(SERVE_STAMP) ## set everything up and serve the page at http://127.0.0.1:8000
	@$(if $(HOST),CAFETERIA_HOST="$(HOST)") $(if $(PORT),CAFETERIA_PORT="$(PORT)") \
		$(if $(CHECKPOINT),CAFETERIA_CHECKPOINT="$(CHECKPOINT)") $(BIN)/python -m app

adapt: $(TEST_STAMP) ## adapt the weights to a folder of photographs named after their dishes (docs/small-data.md)
	@$(if $(DATA),,$(error Name the folder of photographs: make adapt DATA=path/to/photos))
	@$(BIN)/python -m model.adapt "$(DATA)" --out "$(OUT)" $(if $(MINUTES),--minutes "$(MINUTES)") $(if $(NO_ALIGN),--no-align) \
		$(if $(DRY_RUN),--dry-run) \
		$$(test ! -e "$(OUT)/adaptation/run.json" || echo --resume)

setup: $(TEST_STAMP) ## install what training and the tests need besides

test: lint ## set everything up, then lint, type-check and run every test
	@for name in $(CHROMIUMS); do if command -v $$name >/dev/null; then exit; fi; done; \
		echo "No Chromium here ($(CHROMIUMS)): the browser tests will be skipped."
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: $(TEST_STAMP) ## ruff, mypy and hadolint
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

bench: $(TEST_STAMP) ## measure the server beside others (seven minutes; leave the machine alone meanwhile)
	@$(PIP) install --quiet --constraint constraints.txt '.[bench]'
	@$(BIN)/python -m benchmarks.serving

constraints: $(SERVE_STAMP) ## pin what pyproject.toml newly asks for (run it on the oldest Python supported)
	@$(BIN)/python scripts/constraints.py
	@$(PIP) install --quiet --constraint constraints.txt '.[lock]'
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make constraints" --constraint constraints.txt pyproject.toml -o requirements.txt

clean: ## remove .venv and what the tools left (decoded photographs in ~/.cache/imaginary-cafeteria stay)
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A venv whose Python has gone (an upgrade of the system's) is built anew; a whole one is only added to.
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; this is %s. Name another: make PYTHON=python3.12" % sys.version.split()[0])'
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing into $(VENV) (some 6 GB the first time, most of it torch; minutes)…"
	@$(PIP) install --quiet --constraint constraints.txt '$(1)'
	@touch $@
endef

comma := ,

$(SERVE_STAMP): pyproject.toml constraints.txt
	$(call install,.)

$(TEST_STAMP): pyproject.toml constraints.txt
	$(call install,.[train$(comma)eval$(comma)test])
	@touch $(SERVE_STAMP)
