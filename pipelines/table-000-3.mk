# Table 3 of Social Context Feedback (arXiv 2507.16095): Concept101 drawn by each method of the table, with
# the paper's scores; DreamBench and DreamBench++ beside it, where their folders are named.
#   make -f pipelines/table-000-3.mk CONCEPT101=data/customconcept101 SSR=models/ssr_encoder OURS=runs/feedback
#   make -f pipelines/table-000-3.mk MIP=mip-adapter/model_sdxl.bin      with MIP-Adapter (SDXL) in the pairs
#   make -f pipelines/table-000-3.mk DREAMBENCH=data/dreambooth DREAMBENCHPLUS=data/dreambench_plus
#   make -f pipelines/table-000-3.mk needs            models and data: licence, size, what is here; GPU hours
#   make -f pipelines/table-000-3.mk models           all models of these roles, with the commands that get them
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

folder_concept101 = concept101=$(CONCEPT101)
folder_dreambench = dreambench=$(DREAMBENCH)
folder_dreambench-plus = dreambench-plus=$(DREAMBENCHPLUS)
# Pictures of a set: 101 concepts with 20 prompts, 101 pairs with 12, 30 subjects with 25 prompts and
# four pictures of each, 150 with 9.
asked_concept101 = $(shell expr 101 '*' $(PROMPTS))
asked_concept101-pairs = 1212
asked_dreambench = $(shell expr 120 '*' $(prompts_dreambench))
asked_dreambench-plus = $(shell expr 150 '*' $(prompts_dreambench-plus))
needs = $(foreach set,$(filter-out %-pairs,$(SETS)),data=$(folder_$(set))) model=diffusion/stable-diffusion \
    $(if $(filter ip-adapter,$(ROWS)),model=adapter/ip-adapter) \
    $(if $(filter fastcomposer,$(ROWS)),model=diffusion/fastcomposer) \
    $(if $(filter ssr ours,$(ROWS)),model=ssr/ssr-encoder=$(SSR)) \
    $(if $(filter mip-adapter,$(ROWS)),model=adapter/mip-adapter=$(MIP) model=diffusion/sdxl) \
    model=clip/clip=$(CLIP) model=dino/vit=$(DINO) $(if $(filter dreambench-plus,$(SETS)),model=dino/vit=$(DINOPLUS)) \
    $(foreach set,$(SETS),$(foreach r,$(call rows,$(set)),draw=$(if \
    $(filter mip-adapter,$(r)),sdxl,sd15):512:$(if $(filter fastcomposer,$(r)),50,30):$(asked_$(set))))

.PHONY: all models
all: $(OUT)/results.md
	@echo "table: $(abspath $<)"
# Rows and sets are told apart by how they are drawn and imported.
free := ROWS SETS METRICS SCORE CLIP DINO DINOPLUS SSR OURS MIP CONCEPT101 DREAMBENCH DREAMBENCHPLUS $(filter method_%,$(.VARIABLES))
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
include $(dir $(lastword $(MAKEFILE_LIST)))needs.mk

models:
	$(SOCIALCLI) models diffusion
	$(SOCIALCLI) models adapter
	$(SOCIALCLI) models ssr
	$(SOCIALCLI) models clip
	$(SOCIALCLI) models dino

# $(call imported,SET)
define imported
$(OUT)/$(1)/subjects/.done: $(call when,import-$(1),$(import_$(1)))
	$$(call anew,import,$$(import_$(1)))
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
$(OUT)/$(1)/$(2)/.done: $(call when,row-$(2),$(method_$(2))) $(OUT)/$(1)/subjects/.done $(if $(filter %-pairs,$(1)),$(OUT)/$(1)/prompts.jsonl)
	$$(call anew,row,$$(method_$(2)) $$(import_$(1)))
	$(SOCIALCLI) generate $(call drawn,$(1)) -o $(OUT)/$(1)/$(2) \
	    $$(method_$(2)) --profile $(PROFILE) $(DRAW) && touch $$@
$(OUT)/$(1)/scores/$(2)/score.json: $(call when,scores-$(1),$(METRICS) $(judges_$(1)) $(SCORE)) $(OUT)/$(1)/$(2)/.done
	$(SOCIALCLI) score $(OUT)/$(1)/$(2) --reference $(OUT)/$(1)/subjects --against subject \
	    --profile $(PROFILE) --metrics $(METRICS) $(judges_$(1)) --title $(2) $(SCORE) \
	    -o $(OUT)/$(1)/scores/$(2)
endef
$(foreach set,$(SETS),$(foreach r,$(call rows,$(set)),$(eval $(call row,$(set),$(r)))))

# $(call compared,SET)
define compared
$(OUT)/$(1)/compared/compare.json: $(call when,rows-$(1),$(call rows,$(1))) $(foreach r,$(call rows,$(1)),$(OUT)/$(1)/scores/$(r)/score.json)
	$(SOCIALCLI) score --compare $(foreach r,$(call rows,$(1)),$(OUT)/$(1)/scores/$(r)) -o $(OUT)/$(1)/compared
endef
$(foreach set,$(SETS),$(eval $(call compared,$(set))))

$(OUT)/results.md: $(call when,sets,$(SETS)) $(foreach set,$(SETS),$(OUT)/$(set)/compared/compare.json)
	$(PYTHON) -m socialcli.benchmarks.table3 $(foreach set,$(SETS),$(set)=$(OUT)/$(set)/compared) > $@.tmp \
	    && mv $@.tmp $@
