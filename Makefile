# Everything runs in .venv, which `install` makes from environment/*.lock and leaves alone while they stay the same.
.DEFAULT_GOAL := help
# where it is set, every process compiles what it imports anew: 7 s of CPU for vLLM's
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install install-gpu label-studio prefect demo annotate-demo test quick quick-rooms quick-others faults lint bench gpu-check model lock

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: ## .venv for tests, the demo and machines without a GPU
	@environment/install cpu

install-gpu: ## .venv with vLLM for CUDA
	@environment/install gpu

label-studio: ## .label-studio for the Label Studio server, which people annotate in
	@environment/server label-studio annotators/label_studio/local/guard.py

prefect: ## .prefect for the Prefect server, which says when builds run and shows them
	@environment/server prefect

demo: install ## build the demo dataset and its report into data/runs/demo
	.venv/bin/pairwright build demo --out data/runs/demo

annotate-demo: install label-studio ## people judge: Label Studio on this machine, three annotators, the demo's pairs
	.venv/bin/pairwright annotate demo

test: install label-studio prefect ## all tests, and which ten cost most
	@environment/browser
	.venv/bin/pytest -q --durations=10 --durations-min=1

quick: install ## the tests that need no engine, server or browser, in 90 seconds
	@$(MAKE) --no-print-directory -k -j2 -O quick-rooms quick-others

quick-rooms: # half of `quick`: one process for each of two cores
	.venv/bin/pytest -q --quick --durations=10 --durations-min=1 tests/annotators tests/pipeline tests/schemas

quick-others:
	.venv/bin/pytest -q --quick --durations=10 --durations-min=1 --ignore=tests/annotators --ignore=tests/pipeline --ignore=tests/schemas

faults: install ## many seeded tries of every fault, and their table in docs/operations.md (an hour)
	.venv/bin/python -m tests.faults

lint: install ## style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check schemas pipeline annotators flows

bench: install ## the measurements of docs/benchmarks.md (an hour)
	for name in overhead generate ingest near_duplicates aggregate label_studio does_it_help; do .venv/bin/python -m benchmarks.$$name || exit 1; done

gpu-check: ## on a machine with a CUDA GPU: how much of vLLM's speed a pass keeps with a model of 3 billion weights
	@nvidia-smi -L >/dev/null 2>&1 || { echo "gpu-check needs a CUDA GPU and there is none" >&2; exit 2; }
	@environment/install gpu
	.venv/bin/python -m benchmarks.gpu_check

model: install ## train the tiny model of the demo anew
	.venv/bin/python -m pipeline.scenes.model --out data/models/tiny

lock: ## resolve environment/*.lock again
	@environment/lock
