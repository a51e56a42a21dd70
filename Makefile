# `make help` lists what can be done. Needs Python 3.11 to 3.13 and pip; all else is installed into .venv.

PRESET ?= starter
RUN ?= runs/$(notdir $(basename $(PRESET)))
TO ?= ctranslate2
DIR ?= $(RUN)-$(TO)
VENV := .venv
PEERS := .venv-peers
PYTHON_HERE := $(VENV)/bin/python
PIP := $(PYTHON_HERE) -m pip install --disable-pip-version-check -qq --constraint constraints.txt
DEPENDENCIES := setup.cfg pyproject.toml constraints.txt
# Passed on by the environment, so that the shell leaves its quotes, brackets and spaces alone.
export SET
CORPORA_OPTION = $(if $(CORPORA),--corpora "$(CORPORA)")
ITEMS_OPTION = $(if $(ITEMS),--contrapro $(if $(filter-out all,$(ITEMS)),--items $(ITEMS)))
QUANTIZATION_OPTION = $(if $(QUANTIZATION),--quantization "$(QUANTIZATION)")

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help train eval-bleu eval-doc translate export plot presets notebook notebooks test test-slow test-backends bench lint compare serve

help: ## this list
	@echo "Weitblick: English-to-German translation with Transformers"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile; echo
	@echo "Variables, with their defaults or an example:"
	@echo "  PRESET=starter                 a name from 'make presets', or the path of a .toml file"
	@echo "  RUN=runs/starter               the folder of the training; runs/PRESET unless given"
	@echo "  SET=\"updates=500 norm=post\"    preset keys to change; spaces in quotes or brackets are kept"
	@echo "  CORPORA=../corpora             where corpus folders are found"
	@echo "  CORPUS=newstest BASELINE=FILE  for eval-bleu, eval-doc: what to score, what to compare with"
	@echo "  ITEMS=1000                     for eval-doc, compare: items of ContraPro to score as well, or all"
	@echo "  QUICK=1                        for compare: minutes on made-up text; shows only that everything runs"
	@echo "  FILE=in.txt OUTPUT=out.txt     for translate; the terminal unless given; or FILE=in.docx OUTPUT=out.docx"
	@echo "  ENGINE=ctranslate2             for translate, serve: starts faster; installed on first use"
	@echo "  TO=ctranslate2 DIR=model       for export: or TO=savedmodel; DIR is RUN-TO unless given"
	@echo "  QUANTIZATION=int8              with either ctranslate2: smaller and faster"
	@echo "  ARGS=\"-k preset\"               for test: pytest's; for eval-doc, compare, serve, plot, bench, notebook: see ARGS=--help"
	@echo; echo "All commands and options: $(VENV)/bin/weitblick --help"

train: $(VENV)/installed ## train PRESET into RUN, and score it unless SET is given; resumes where it stopped
	@$(PYTHON_HERE) -m app train "$(PRESET)" --run "$(RUN)" $(if $(SET),--set "$$SET") $(CORPORA_OPTION)
# Settings are chosen by validation: with SET the test split is left alone.
	$(if $(SET),,@$(PYTHON_HERE) -m app evaluate "$(RUN)" $(CORPORA_OPTION))

eval-bleu: $(VENV)/installed ## score RUN on its test split with sacreBLEU
	@$(PYTHON_HERE) -m app evaluate "$(RUN)" $(if $(CORPUS),--corpus "$(CORPUS)") $(CORPORA_OPTION) \
	    $(if $(BASELINE),--baseline "$(BASELINE)")

eval-doc: $(VENV)/installed ## score RUN on whole documents: BLEU, consistency, use of context, pronouns
	@$(PYTHON_HERE) -m app evaluate-documents "$(RUN)" $(if $(CORPUS),--corpus $(CORPUS)) $(CORPORA_OPTION) \
	    $(if $(BASELINE),--baseline "$(BASELINE)") $(ITEMS_OPTION) $(ARGS)

# Text needs no extra, other files do.
translate: $(VENV)/installed$(if $(filter ctranslate2,$(ENGINE)),-ctranslate2) $(if $(filter-out .txt,$(suffix $(FILE))),$(VENV)/installed-files) ## translate FILE with RUN, one line in = one line out, or a file such as a .docx
	@$(PYTHON_HERE) -m app translate "$(RUN)" $(if $(FILE),"$(FILE)") $(if $(OUTPUT),--output "$(OUTPUT)") \
	    $(if $(ENGINE),--engine "$(ENGINE)") $(QUANTIZATION_OPTION)

serve: $(VENV)/installed-serve $(if $(filter ctranslate2,$(ENGINE)),$(VENV)/installed-ctranslate2) ## serve RUN over HTTP on this machine, until Ctrl-C
	@$(PYTHON_HERE) -m app serve "$(RUN)" $(if $(ENGINE),--engine "$(ENGINE)") $(QUANTIZATION_OPTION) $(ARGS)

export: $(VENV)/installed$(if $(filter ctranslate2,$(TO)),-ctranslate2) ## export RUN into DIR, for other programs to translate with
	@$(PYTHON_HERE) -m app export "$(RUN)" --to "$(TO)" "$(DIR)" $(QUANTIZATION_OPTION)

plot: $(VENV)/installed-plots ## draw RUN into RUN/plots: learning curves, attention, memory, scores
	@$(PYTHON_HERE) -m app plot "$(RUN)" $(ARGS)

compare: $(VENV)/installed-plots ## train, score and measure all memories and stacks: hours, or minutes with QUICK=1
	@$(PYTHON_HERE) -m app compare $(if $(QUICK),mechanisms-quick --jobs 4 --write runs/mechanisms-quick/comparison.md,mechanisms \
	    --write docs/comparison.md $(CORPORA_OPTION) $(ITEMS_OPTION)) $(ARGS)

presets: $(VENV)/installed ## list the presets
	@$(PYTHON_HERE) -m app presets

notebook: $(VENV)/installed-notebooks $(VENV)/installed-glove ## execute the notebooks and write their outputs: up to 25 minutes
	@$(PYTHON_HERE) notebooks/execute.py $(ARGS)

notebooks: $(VENV)/installed-lab ## open the notebooks in JupyterLab
	@$(VENV)/bin/jupyter-lab notebooks $(ARGS)

# tests/processes.py says how many processes "auto" are.
PYTEST = $(PYTHON_HERE) -m pytest -n auto --dist loadfile --no-loadscope-reorder
SOME = --durations 15 --durations-min 4 -m "not backends and $(SPEED)"
test: SPEED = not slow ## run all tests except the slow ones, on all cores
test-slow: SPEED = slow ## run the slow tests

# Two halves, as processes grow with each test: three of them would need more than 20 GB at the end. 5: none was chosen.
test test-slow: $(VENV)/installed-test .venv-bigquery/installed .venv-beam/installed .node/installed
	$(PYTEST) $(SOME) $(foreach part,data models notebooks test_documents.py test_house.py,--ignore tests/$(part)) $(ARGS) || test $$? = 5
	$(PYTEST) $(SOME) --ignore tests/app $(ARGS) || test $$? = 5

test-backends: $(VENV)/installed-test $(VENV)/installed-backends ## run the tests that need JAX and PyTorch (a large download)
	$(PYTEST) -m backends $(ARGS)

bench: $(VENV)/installed-ctranslate2 $(PEERS)/installed ## measure against other programs (a large download, then more than half an hour)
	@$(PYTHON_HERE) -m app.bench $(ARGS)

lint: $(VENV)/installed-test ## check style with ruff and types with mypy
	$(PYTHON_HERE) -m ruff check .
	$(PYTHON_HERE) -m ruff format --check .
	$(PYTHON_HERE) -m mypy

# Each stamp is made after its installation succeeded, so an interrupted one is taken up again and a whole one never
# repeated until a version changes. An existing .venv is kept when its Python fits.
RIGHT_VERSION := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PIP_WORKS := import sys, pip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

$(VENV)/installed: $(DEPENDENCIES)
	@found=; if ! $(PYTHON_HERE) -c '$(PIP_WORKS)' 2>/dev/null; then \
	    for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	        if "$$python" -c '$(RIGHT_VERSION)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	    done; \
	    if [ -z "$$found" ]; then \
	        echo "error: found no Python from 3.11 to 3.13 with venv and pip (on Debian: apt install python3-venv);" \
	            "install one, or name it: make PYTHON=/path/to/python3" >&2; \
	        exit 2; \
	    fi; \
	    echo "Making $(VENV) with $$("$$found" --version)"; \
	    "$$found" -m venv --clear $(VENV); \
	fi
	@echo "Installing the pinned packages into $(VENV): a few minutes, once"
	@$(PIP) --editable .
	@touch $@

# One stamp for each extra of setup.cfg.
$(VENV)/installed-%: $(VENV)/installed
	@echo "Installing the extra packages of '$*' into $(VENV)"
	@$(PIP) --editable '.[$*]'
	@touch $@

# What serves BigQuery on loopback, and Apache Beam, which wants older packages than constraints.txt has. Where one of them
# cannot be installed the tests say what they could not test.
.venv-%/installed: tests/%.txt | $(VENV)/installed
	@echo "Installing what tests need into .venv-$*"
	@$(PYTHON_HERE) -m venv --clear .venv-$*
	@.venv-$*/bin/python -m pip install --disable-pip-version-check -qq --requirement $< \
	    && touch $@ || echo "warning: the packages of $< could not be installed" >&2

# DeepL's client for Node and axe-core, which the server and its page are tested with; where there is no npm the tests say so.
.node/installed: tests/app/serving/package.json
	@mkdir -p .node && cp $< .node/package.json
	@cd .node && npm install --silent --no-audit --no-fund >/dev/null 2>&1 && touch installed \
	    || echo "warning: DeepL's client for Node and axe-core could not be installed" >&2

# JoeyNMT's declared requirements hold back other packages, EOLE's bring many that are not imported: peers.txt has those that are.
$(PEERS)/installed: app/bench/peers.txt | $(VENV)/installed
	@echo "Installing the programs to compare with into $(PEERS)"
	@$(PYTHON_HERE) -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip install --disable-pip-version-check -qq --requirement app/bench/peers.txt
	@$(PEERS)/bin/python -m pip install --disable-pip-version-check -qq --no-deps joeynmt==2.3.0 eole==0.6.4
	@touch $@
