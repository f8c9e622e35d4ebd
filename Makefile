# make demo, make test, make test-all: see README.md. PYTHON=python3.12 selects the interpreter.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint bench size clean docs wheel dist frozen deb check-packages

demo: $(VENV)/.installed
	@$(BIN)/python -m cleanclip_gui.window.system_libraries
	@$(BIN)/python -m cleanclip_gui --demo

# One process more than cores takes tests until none is left: a test often waits for a process of its
# own. Bytecode is written, for each process that a test starts.
WORKERS = $$($(BIN)/python -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))")
TESTS = env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: $(VENV)/.installed-test
	@$(BIN)/python -m cleanclip_gui.window.system_libraries
	@$(TESTS) -m "not slow"

test-all: $(VENV)/.installed-test
	@$(BIN)/python -m cleanclip_gui.window.system_libraries
	@$(TESTS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-test
	@$(BIN)/python -m cleanclip_gui.window.system_libraries
	@QT_QPA_PLATFORM=offscreen $(BIN)/python -m tests.benchmarks

size:
	@$(PYTHON) packaging/size.py $(AT)

docs: .venv-docs/.installed
	@.venv-docs/bin/python packaging/docs/build.py

wheel: $(VENV)/.installed-test
	$(BIN)/python -m pip wheel -q --no-deps -w dist .

# Packages: docs/packages.md. TORCH_ARGS tells pip where the processor's build of torch is.
TOOLS := build/tools/bin/python
FROZEN := build/frozen
TORCH_ARGS ?= --extra-index-url https://download.pytorch.org/whl/cpu

build/tools/.installed: packaging/requirements-release.txt
	@$(PYTHON) packaging/check_python.py
	@$(PYTHON) -m venv build/tools
	@$(TOOLS) -m pip install --quiet -r $<
	@touch $@

dist: build/tools/.installed
	@$(TOOLS) packaging/release.py

frozen: dist
	@$(PYTHON) packaging/frozen/build.py --wheel dist/*.whl --pip-args="$(TORCH_ARGS)"

deb: frozen
	@$(FROZEN)/venv/bin/python packaging/deb/build.py --frozen $(FROZEN)/dist/cleanclip-gui --tree build/deb
	@$(TOOLS) packaging/release.py --finish $(FROZEN)/venv/bin/python

check-packages: deb
	@$(TOOLS) packaging/checks/run.py --venv $(FROZEN)/venv/bin/python --tree build/deb

clean:
	rm -rf $(VENV) .venv-docs build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created: packaging/check_python.py
	@$(PYTHON) packaging/check_python.py
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "Installing CleanCLIP GUI into $(VENV) (the first time takes minutes, most of it torch)"
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.created pyproject.toml
	@echo "Installing CleanCLIP GUI and its test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) -e '.[test]'
	@touch $@ $(VENV)/.installed

.venv-docs/.installed: packaging/check_python.py pyproject.toml
	@$(PYTHON) packaging/check_python.py
	@echo "Installing CleanCLIP GUI and the tools of its documentation into .venv-docs"
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip install --quiet $(PIP_ARGS) -e '.[docs]'
	@touch $@
