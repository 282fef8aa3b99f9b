# The course's commands; each one sets up what it needs. On Windows see README.md.
#   make lab [PORT=9000] [ARGS=--no-browser]    make notebooks [ARGS="--profile quick"]
#   make exercises [ARGS="--fresh 01"]                   make test [ARGS=tests/test_pruning.py]
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
.PHONY: lab test notebooks exercises doctor data
.NOTPARALLEL:

# Images for containers often forbid Python to keep what it compiled. Then every kernel would compile
# torch and transformers anew: it starts in 30 seconds instead of 10.
unexport PYTHONDONTWRITEBYTECODE

lab: $(VENV)/.lab
	@$(BIN)/python -m course_lib lab $(if $(PORT),--port=$(PORT)) $(ARGS)

# All tests, and the notebooks with nbval: a file after the other on two workers, each file on one.
# Three took no less time on two cores: what one leaves in the cache, the others made, too.
# tests/conftest.py says which come first, and which cells nbval need not run.
ALL := -n 2 --dist loadfile --no-loadscope-reorder tests course_lib \
    --nbval-lax --nbval-current-env --nbval-cell-timeout 300 notebooks/*.ipynb

test: $(VENV)/.test data
	$(BIN)/ruff check .
	@# mypy has one core for half a minute; the tests begin meanwhile, and both must pass.
	$(BIN)/mypy & COURSE_PROFILE=quick $(BIN)/python -m pytest $(or $(ARGS),$(ALL)) && wait $$!

notebooks: $(VENV)/.lab data
	$(BIN)/python tools/notebooks.py run $(ARGS)

exercises: $(VENV)/.lab $(VENV)/.grading data
	$(BIN)/python tools/exercises.py $(ARGS)

# Without a set-up, too: what is missing is what the doctor is asked about.
doctor:
	@$(or $(wildcard $(BIN)/python),$(PYTHON)) -m course_lib doctor

data: $(VENV)/.lab
	@$(BIN)/python -m course_lib fetch

# One stamp for each extra of pyproject.toml; `make test` needs all, and one call of pip is quicker than
# three. PyTorch goes first and pinned: a newer one for Linux can bring gigabytes of CUDA packages. A
# CPU build of that version already in the venv is kept.
$(VENV)/.%: EXTRAS = $*
$(VENV)/.test: EXTRAS = lab,grading,test
COMMA := ,
$(VENV)/.lab $(VENV)/.test $(VENV)/.grading: $(VENV)/.%: pyproject.toml constraints.txt | $(VENV)/.python
	$(BIN)/python -m pip install --no-compile -c constraints.txt torch
	$(BIN)/python -m pip install --no-compile -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $(addprefix $(VENV)/.,$(subst $(COMMA), ,$(EXTRAS)))

# A stamp, and not bin/python: that one exists even when `venv` stops half-way.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"The course needs Python 3.11 or newer; $(PYTHON) is {v}. Name another: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@# The pip that comes with Python 3.11 takes twice as long for all that follows.
	$(BIN)/python -m pip install --upgrade pip
	@touch $@
