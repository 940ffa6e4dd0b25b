# Table 3 of Social Context Feedback (arXiv 2507.16095): Concept101 drawn by each method of the table, with
# the paper's scores; DreamBench and DreamBench++ beside it, where their folders are named.
#   make -f pipelines/table-000-3.mk CONCEPT101=data/customconcept101 SSR=models/ssr_encoder OURS=runs/feedback
#   make -f pipelines/table-000-3.mk MIP=mip-adapter/model_sdxl.bin      with MIP-Adapter (SDXL) in the pairs
#   make -f pipelines/table-000-3.mk DREAMBENCH=data/dreambooth DREAMBENCHPLUS=data/dreambench_plus
#   make -f pipelines/table-000-3.mk models           what each row needs, its licence, whether it is here
# Protocols (docs/import.md): CLIP ViT-B/32; DINO ViT-S/16, of DreamBench++ ViT-S/8; prompts with the
# class where a method would write its identifier; CLIP-T of Concept101 is 2.5 * max(cosine, 0).
# PROMPTS is how many prompts of each subject are drawn (20, 25 and 9 are all).
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= sd15
CONCEPT101 ?= data/customconcept101
DREAMBENCH ?=
DREAMBENCHPLUS ?=
OUT ?= runs/table-000-3
SSR ?= models/ssr_encoder
OURS ?=
MIP ?=
PROMPTS ?= 20
METRICS ?= clip-t,clip-i,dino
# Flags of every drawing, of every score.
DRAW ?=
SCORE ?=
CLIP ?= openai/clip-vit-base-patch32
DINO ?= facebook/dino-vits16
DINOPLUS ?= facebook/dino-vits8
ROWS ?= ip-adapter fastcomposer ssr $(if $(MIP),mip-adapter) $(if $(OURS),ours)
SETS ?= concept101 concept101-pairs $(if $(DREAMBENCH),dreambench) $(if $(DREAMBENCHPLUS),dreambench-plus)

# What makes a row; another one: ROWS="ssr mine" "method_mine=--method ...". A subject is called by
# its class, so each reference belongs to that word.
method_ip-adapter ?= --method ip-adapter
method_fastcomposer ?= --method fastcomposer
method_ssr ?= --method ssr $(if $(SSR),--ssr-model $(SSR))
method_mip-adapter ?= --method mip-adapter --adapter-model $(MIP) --size 512
method_ours ?= --method ssr --ssr-model $(OURS)
# MIP-Adapter draws two subjects, so it stands in the sets of pairs alone.
rows = $(filter-out $(if $(filter %-pairs,$(1)),,mip-adapter),$(ROWS))
import_concept101 = concept101 $(CONCEPT101)
import_concept101-pairs = concept101 $(CONCEPT101)
import_dreambench = dreambooth $(DREAMBENCH)
import_dreambench-plus = dreambench-plus $(DREAMBENCHPLUS)
prompts_concept101 := $(PROMPTS)
prompts_dreambench := $(if $(filter 20,$(PROMPTS)),25,$(PROMPTS))
prompts_dreambench-plus := $(if $(filter 20,$(PROMPTS)),9,$(PROMPTS))
# DreamBench has four pictures of each prompt. A style of DreamBench++ is not named by its prompts, so
# FastComposer has no word for it: such pictures are counted as failed.
more_dreambench := --per-prompt 4
more_dreambench-plus := --max-error-rate 1
judges_concept101 := --clip-model $(CLIP) --dino-model $(DINO)
judges_concept101-pairs := $(judges_concept101)
judges_dreambench := $(judges_concept101)
judges_dreambench-plus := --clip-model $(CLIP) --dino-model $(DINOPLUS)

.PHONY: all models
all: $(OUT)/results.md
	@echo "table: $(abspath $<)"
.SECONDARY:

models:
	$(SOCIALCLI) models diffusion
	$(SOCIALCLI) models adapter
	$(SOCIALCLI) models ssr
	$(SOCIALCLI) models clip
	$(SOCIALCLI) models dino

# $(call imported,SET)
define imported
$(OUT)/$(1)/subjects/.done:
	$(SOCIALCLI) import $$(import_$(1)) -o $(OUT)/$(1)/subjects && touch $$@
endef
$(foreach set,$(SETS),$(eval $(call imported,$(set))))

# What is drawn: the subjects' own prompts; of pairs those that two concepts share.
asked = $(OUT)/$(1)/subjects --captions $(prompts_$(1)) $(more_$(1))
pairs = $(OUT)/$(1)/prompts.jsonl --references $(OUT)/$(1)/subjects
drawn = $(if $(filter %-pairs,$(1)),$(pairs),$(asked))
$(OUT)/concept101-pairs/prompts.jsonl:
	@mkdir -p $(@D)
	$(PYTHON) -m socialcli.benchmarks.concept101 $(CONCEPT101) > $@.tmp && mv $@.tmp $@

# $(call row,SET,ROW)
define row
$(OUT)/$(1)/$(2)/.done: $(OUT)/$(1)/subjects/.done $(if $(filter %-pairs,$(1)),$(OUT)/$(1)/prompts.jsonl)
	$(SOCIALCLI) generate $(call drawn,$(1)) -o $(OUT)/$(1)/$(2) \
	    $$(method_$(2)) --profile $(PROFILE) $(DRAW) && touch $$@
$(OUT)/$(1)/scores/$(2)/score.json: $(OUT)/$(1)/$(2)/.done
	$(SOCIALCLI) score $(OUT)/$(1)/$(2) --reference $(OUT)/$(1)/subjects --against subject \
	    --profile $(PROFILE) --metrics $(METRICS) $(judges_$(1)) --title $(2) $(SCORE) \
	    -o $(OUT)/$(1)/scores/$(2)
endef
$(foreach set,$(SETS),$(foreach r,$(call rows,$(set)),$(eval $(call row,$(set),$(r)))))

# $(call compared,SET)
define compared
$(OUT)/$(1)/compared/compare.json: $(foreach r,$(call rows,$(1)),$(OUT)/$(1)/scores/$(r)/score.json)
	$(SOCIALCLI) score --compare $(foreach r,$(call rows,$(1)),$(OUT)/$(1)/scores/$(r)) -o $(OUT)/$(1)/compared
endef
$(foreach set,$(SETS),$(eval $(call compared,$(set))))

$(OUT)/results.md: $(foreach set,$(SETS),$(OUT)/$(set)/compared/compare.json)
	$(PYTHON) -m socialcli.benchmarks.table3 $(foreach set,$(SETS),$(set)=$(OUT)/$(set)/compared) > $@.tmp \
	    && mv $@.tmp $@
