# The course's commands; each one sets up what it needs. On Windows see README.md.
#   make lab [PORT=9000] [ARGS=--no-browser]    make notebooks [ARGS="--profile quick"]
#   make exercises [ARGS="--fresh 01"]                   make test [ARGS=tests/test_cache.py]
#   make site, and open site/index.html                  make test-fast: two minutes, for edits of texts
#   make class FOLDER=~/my-class                         nbgrader's folder for a class: docs/instructors.md
#   make hub                                             what a JupyterHub needs: docs/hub.md
#   make bundle [PLATFORMS="linux windows"]              for a room without a network: docs/offline.md
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
.PHONY: lab test test-fast notebooks exercises class folder hub site bundle doctor data setup lock audit
.NOTPARALLEL:

# Images for containers often forbid Python to keep what it compiled. Then every kernel would compile
# torch and transformers anew: it starts in 30 seconds instead of 10.
unexport PYTHONDONTWRITEBYTECODE

lab: setup
	@"$(BIN)/python" -m course_lib lab $(if $(PORT),--port=$(PORT)) $(ARGS)

# All tests, and the notebooks with nbval: a file after the other on two workers, each file on one.
# Three took no less time on two cores: what one leaves in the cache, the others made, too.
# tests/conftest.py says which come first, and which cells nbval need not run.
ALL := -n 2 --dist loadfile --no-loadscope-reorder tests course_lib \
    --nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks/*.ipynb

test: EXTRAS = lab grading site test
test: setup data
	"$(BIN)/ruff" check .
	@# mypy has one core for half a minute; the tests begin meanwhile, and both must pass.
	"$(BIN)/mypy" & COURSE_PROFILE=quick "$(BIN)/python" -m pytest $(or $(ARGS),$(ALL)) && wait $$!

# What an edit of a text or a figure can break, without running lessons, labs or a browser.
FAST := tests/lessons tests/notebooks tests/deploy/test_values.py \
    tests/test_docs.py tests/test_house.py tests/test_links.py tests/test_pictures.py

test-fast: EXTRAS = lab grading site test
test-fast: setup data
	"$(BIN)/ruff" check .
	COURSE_PROFILE=quick "$(BIN)/python" -m pytest -n 2 --dist loadfile -m "not slow" $(FAST)

notebooks: setup data
	"$(BIN)/python" tools/notebooks.py run $(ARGS)
	"$(BIN)/python" tools/pictures.py
	"$(BIN)/python" tools/sizing.py

exercises: EXTRAS = lab grading
exercises: setup data
	"$(BIN)/python" tools/exercises.py $(ARGS)

class: EXTRAS = lab grading
class: folder setup data
	@"$(BIN)/python" tools/make_class.py "$(FOLDER)"

folder:
	@$(if $(FOLDER),:,$(error Say where: make class FOLDER=~/my-class))

# All that a JupyterHub needs; docs/hub.md says how to start it.
hub: EXTRAS = lab hub
hub: setup
	npm install --global --prefix "$(VENV)" --ignore-scripts --no-audit --no-fund configurable-http-proxy@5.1.0

# Offline, from the notebooks as they are.
site: EXTRAS = lab site
site: setup
	@"$(BIN)/python" tools/build_site.py $(ARGS)

# One archive, to install from without a network.
bundle: EXTRAS = lab site
bundle: setup data
	@"$(BIN)/python" tools/bundle.py $(if $(PLATFORMS),--platforms $(PLATFORMS)) $(ARGS)

# Without a set-up, too: what is missing is what the doctor is asked about.
doctor:
	@"$$([ -x "$(BIN)/python" ] && echo "$(BIN)/python" || command -v $(PYTHON))" -m course_lib doctor

# Verifies every file, and fetches what is missing or damaged.
data: setup
	@"$(BIN)/python" -m course_lib fetch

# pip runs only where what is to be installed has changed. Two at once wait for each other.
setup:
	@$(PYTHON) tools/setup_env.py "$(VENV)" $(or $(EXTRAS),lab)

lock: setup
	"$(BIN)/python" tools/lock.py

# Asks the package index for known holes in the tested versions. It fails where it gets no answer, too.
audit: setup
	@"$(BIN)/python" -m pip install --quiet pip-audit==2.10.1
	"$(BIN)/python" -m pip_audit --strict --no-deps --disable-pip --requirement constraints.txt
