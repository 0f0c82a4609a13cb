# Everything runs in .venv, which `install` creates from environment/*.lock and reinstalls only if they change.
.DEFAULT_GOAL := help
# if it is set, every process recompiles what it imports: 7 s of CPU for vLLM
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help install install-gpu label-studio prefect demo annotate-demo test quick faults lint bench bench-train bench-instructions gpu-check model real model-real lock

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: ## set up .venv for tests, the demo and machines without a GPU
	@environment/install cpu

install-gpu: ## set up .venv with vLLM for CUDA
	@environment/install gpu

label-studio: ## set up .label-studio, the environment of the Label Studio server for human annotation
	@environment/server label-studio annotators/label_studio/local/guard.py

prefect: ## set up .prefect, the environment of the Prefect server, which schedules and shows builds
	@environment/server prefect

demo: install ## build the demo dataset and its report into data/runs/demo
	.venv/bin/pairwright build demo --out data/runs/demo

annotate-demo: install label-studio ## try human annotation: Label Studio on this machine, three annotators, the demo's pairs
	.venv/bin/pairwright annotate demo

test: install label-studio prefect ## run all tests; lists the ten slowest
	@environment/real
	@environment/browser
	.venv/bin/pytest -q -n 2 --dist loadfile --durations=10 --durations-min=1

quick: install ## run the tests that need no engine, server or browser, in about two minutes
	.venv/bin/pytest -q --quick -n 2 --dist loadfile --durations=10 --durations-min=1

faults: install ## run many seeded trials of every fault and update their table in docs/operations.md (an hour)
	.venv/bin/python -m tests.faults

lint: install ## check style, formatting and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/ty check schemas pipeline annotators flows

bench: install ## run the measurements of docs/benchmarks.md (an hour)
	for name in overhead generate ingest near_duplicates aggregate label_studio does_it_help; do .venv/bin/python -m benchmarks.$$name || exit 1; done
	.venv/bin/python -m benchmarks.first_token

bench-train: install ## memory and CPU time of training a language model, beside TRL: MODEL=folder of the model (half an hour)
	.venv/bin/python -m benchmarks.train $(MODEL)

bench-instructions: install ## whether training teaches a pretrained model to follow instructions (an hour of CPU)
	@environment/real base
	.venv/bin/python -m benchmarks.instructions data/models/smollm2

gpu-check: ## on a CUDA GPU: throughput of a pass relative to bare vLLM, with a model of 3 billion parameters
	@nvidia-smi -L >/dev/null 2>&1 || { echo "gpu-check needs a CUDA GPU, but none was found" >&2; exit 2; }
	@environment/install gpu
	.venv/bin/python -m benchmarks.gpu_check

model: install ## retrain the demo's tiny model
	.venv/bin/python -m pipeline.scenes.model --out data/models/tiny

real: install ## a pretrained model goes the whole way: set it up (once), then build, judges, training, evaluation (20 minutes)
	@environment/real
	.venv/bin/python -m benchmarks.real

model-real: install ## retrain what makes the pretrained model see: tower and adapter, data/models/seeing (an hour of CPU)
	@environment/real base
	.venv/bin/python -m pipeline.scenes.seeing train --out data/models/seeing

lock: ## update environment/*.lock
	@environment/lock
