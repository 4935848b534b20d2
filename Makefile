# Two commands do everything on a fresh machine with Python >= 3.11 and make:
#   make reproduce   install, then the Countdown experiment on r3-nano: table, plots, HTML page
#   make test        install, then pytest, then nbval over every notebook
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
TEST = OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(JOBS) --dist loadfile
EXPERIMENT ?= countdown
SEED ?= 0
# the build of torch: without CUDA where there is no driver for it and pip finds that build, else the package index's own
TORCH ?= $(if $(shell command -v nvidia-smi),cuda,cpu)
PIP = $(RUN) -m pip install --disable-pip-version-check --no-compile --no-deps
JOBS ?= 2# processes that run the tests, of one thread each
# glibc returns large freed blocks to the system at once; keeping them makes CPU training about a tenth faster
export MALLOC_MMAP_THRESHOLD_ = 1073741824
export MALLOC_TRIM_THRESHOLD_ = 1073741824

.PHONY: reproduce test test-ways test-browser test-lowest lab course site experiments report nano readiness bench mutants lock url clean

reproduce: $(VENV)/.core
	$(RUN) -m r3lib reproduce --task $(EXPERIMENT) --seed $(SEED)

test: $(VENV)/.all
	$(TEST)
	$(TEST) --nbval --nbval-sanitize-with notebooks/sanitize.cfg --nbval-cell-timeout=900 -p no:cacheprovider notebooks

test-ways: $(VENV)/.all
	$(RUN) -m pytest -v --durations=0 -p no:cacheprovider .ci/test_ways.py

test-browser: $(VENV)/.all
	$(RUN) -m pytest -v --durations=0 -p no:cacheprovider .ci/test_browser.py

test-lowest: $(VENV)/.all
	$(RUN) -m pip install -q uv
	$(RUN) .ci/bounds.py lowest

lab: $(VENV)/.all
	$(VENV)/bin/jupyter lab notebooks

course: $(VENV)/.all
	$(RUN) -m r3lib course

site: build/site-venv/.done
	build/site-venv/bin/python -m sphinx -q -W --keep-going -c docs . build/site

experiments: $(VENV)/.core
	$(RUN) -m r3lib experiment --all --seeds 0 1 2 3 4

report: $(VENV)/.core
	$(RUN) -m r3lib report

nano: $(VENV)/.core
	$(RUN) -m r3lib nano

readiness: $(VENV)/.core
	$(RUN) -m r3lib readiness

bench: $(VENV)/.core
	$(RUN) benchmarks/verifier.py
	$(RUN) benchmarks/verifier_function_calling.py
	$(RUN) benchmarks/choices.py
	$(RUN) benchmarks/failures.py
	$(RUN) benchmarks/intervals.py
	$(RUN) benchmarks/step.py
	$(RUN) benchmarks/reproduce.py
	$(RUN) benchmarks/table.py

mutants: $(VENV)/.all
	$(RUN) benchmarks/mutants.py
	$(RUN) benchmarks/table.py

lock:
	$(PYTHON) -m venv .lock-venv
	.lock-venv/bin/pip install -q uv
	.lock-venv/bin/python .ci/lock.py
	rm -r .lock-venv

url:
	$(PYTHON) .ci/url.py $(URL)

clean:
	rm -rf $(VENV) runs build

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'r3lib needs Python 3.11 or newer; set PYTHON=python3.12, say')"
	$(PYTHON) -m venv $(VENV)

define install
$(PIP) -r requirements-$(TORCH).lock || $(PIP) -r requirements-cuda.lock
$(PIP) -r $(1)
$(PIP) --no-build-isolation -q -e .
endef

$(VENV)/.core: $(VENV)/bin/python requirements.lock requirements-cuda.lock pyproject.toml
	$(call install,requirements.lock)
	touch $@

$(VENV)/.all: $(VENV)/bin/python requirements-all.lock requirements.lock requirements-cuda.lock pyproject.toml
	$(call install,requirements-all.lock)
	touch $@ $(VENV)/.core

build/site-venv/.done: docs/site.lock
	$(PYTHON) -m venv build/site-venv
	build/site-venv/bin/pip install --disable-pip-version-check --no-deps -q -r docs/site.lock
	touch $@
