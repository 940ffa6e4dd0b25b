# Concept101 (CustomConcept101) drawn by an SSR-Encoder: every concept in its own prompts, and every
# pair of concepts in the prompts that they share, with scores of both (docs/import.md).
#   make -f pipelines/concept101.mk -j2 CONCEPT101=data/customconcept101 SSR=models/ssr_encoder
# benchmark_dataset.zip is unpacked in that folder. PROMPTS is how many prompts of each concept are
# drawn; they have 20. In miniature, with the encoder in the package:
#   make -f pipelines/concept101.mk PROFILE=mini SSR= PROMPTS=2
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= sd15
CONCEPT101 ?= data/customconcept101
OUT ?= shards/concept101
SSR ?= models/ssr_encoder
PROMPTS ?= 20
METRICS ?= clip-t,clip-i,dino
# Flags of every drawing, of both scores.
DRAW ?=
SCORE ?=
numbers := $(shell seq 0 $$(( $(PROMPTS) - 1 )))
DRAWN = --method ssr --profile $(PROFILE) $(if $(SSR),--ssr-model $(SSR)) $(DRAW)

.PHONY: concept101
concept101: $(OUT)/scores/one/score.json $(OUT)/scores/two/score.json
	@echo "scores: $(abspath $(OUT)/scores)"
free := PROMPTS METRICS SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import concept101 $(CONCEPT101) -o $(OUT)/images
	@touch $@
$(OUT)/combinations.jsonl:
	@mkdir -p $(@D)
	$(PYTHON) -m socialcli.benchmarks.concept101 $(CONCEPT101) > $@.tmp && mv $@.tmp $@

$(OUT)/one/%/.done: $(OUT)/images/.done
	$(SOCIALCLI) generate $(OUT)/images -o $(OUT)/one/$* --caption $* $(DRAWN)
	@touch $@
$(OUT)/two/.done: $(OUT)/images/.done $(OUT)/combinations.jsonl
	$(SOCIALCLI) generate $(OUT)/combinations.jsonl --references $(OUT)/images -o $(OUT)/two $(DRAWN)
	@touch $@

score = $(SOCIALCLI) score $(1) --reference $(OUT)/images --against subject --profile $(PROFILE) \
    --metrics $(METRICS) $(SCORE) -o $(@D)
$(OUT)/scores/one/score.json: $(call when,one,$(PROMPTS) $(METRICS) $(SCORE)) $(numbers:%=$(OUT)/one/%/.done)
	$(call score,$(numbers:%=$(OUT)/one/%))
$(OUT)/scores/two/score.json: $(call when,two,$(METRICS) $(SCORE)) $(OUT)/two/.done
	$(call score,$(OUT)/two)
