# Each target does all the set-up it needs. PYTHON may name another interpreter (3.11 or newer).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: quickstart test browser check docs format clean

quickstart: $(STAMP) ## train the embedded demo end to end and say where the records are
	$(BIN)/trimtab demo --output-dir runs/demo-$$(date +%Y%m%d-%H%M%S)

test: $(STAMP) browser ## lint, types, import contract, then every test (no GPU, no network)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist worksteal

# The pages of `trimtab report` are tested in a real browser: this machine's, or Debian's where we may install it.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test -n "$$CHROMIUM" \
	|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	     && { apt-get update -qq; apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; } \
	|| echo "no Chromium here, and none can be installed: the tests of pages are skipped"

check: test

format: $(STAMP) ## what ruff can fix by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs-installed ## the docs site, into site/; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; its search needs a server: python3 -m http.server --directory site"

$(VENV)/.docs-installed: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group docs
	touch $@

# pip alone, under the tested versions. torch==2.13.0 is the CPU build where pip is offered one, else the platform's own.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[quant]' --group dev
	touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
