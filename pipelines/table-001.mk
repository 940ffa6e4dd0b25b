# Table 1 of Customizing Text-to-Image Generation with Inverted Interaction, with the methods of its
# section 5.3: Stable Diffusion, ControlNet, InstructPix2Pix, InteractDiffusion, Textual Inversion,
# P+, ReVersion and its own, on photographs and sentences of your own, as the paper's were not published.
#   make -f pipelines/table-001.mk EXEMPLARS=photos/interactions SENTENCES=sentences.csv
#   make -f pipelines/table-001.mk ROWS='sd interaction no-prior no-poses no-attention'    with Figure 8's
#   make -f pipelines/table-001.mk needs      models and data, licences, sizes, what is here, GPU hours
# EXEMPLARS is a folder with a folder for each interaction (kneel-down/, kiss-hands/...), ten
# photographs of two people in each; the annotation chain looks at them first. SHARDS names annotated shards
# instead, whose meta.json says the interaction in extra.FIELD. SENTENCES is a CSV file of
# interaction, first, second, sentence (socialcli/benchmarks/sentences.py); the paper has 200 and
# draws ten pictures of each. The judges of Pose-S and Pose-KP learn from JUDGING, which are to be other
# photographs of the same interactions; without one they learn from the exemplars.
# ControlNet draws an exemplar's two skeletons, InstructPix2Pix changes its picture,
# InteractDiffusion gets its two boxes and the verb. What the paper leaves open: docs/interaction.md.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= sd15
EXEMPLARS ?= photos/interactions
SENTENCES ?= sentences.csv
SHARDS ?=
JUDGING ?=
OUT ?= runs/table-001
PICTURES ?= 10
STEPS ?= 1000
# Flags of every inversion, of the judges, of every drawing, of every score.
INVERT ?=
JUDGE ?=
DRAW ?=
SCORE ?=
METRICS ?= clip-t,clip-s,pose-s,pose-kp
CONTROLNET ?= lllyasviel/control_v11p_sd15_openpose
ROWS ?= sd controlnet instruct-pix2pix interactdiffusion textual-inversion p-plus reversion interaction
# What the others are compared with.
FIRST ?= interaction

ANNOTATED := $(if $(SHARDS),$(SHARDS),$(OUT)/exemplars/annotated)
FIELD ?= $(if $(SHARDS),concept,subject)
JUDGED := $(if $(JUDGING),$(JUDGING),$(ANNOTATED))
READY := $(if $(SHARDS),,$(OUT)/exemplars/annotated/.done)

# Rows that learn words, and which caption of a sentence has them (1: three words, 2: one).
FIT = $(SOCIALCLI) invert $(ANNOTATED) --by $(FIELD) --profile $(PROFILE) --steps $(STEPS) $(INVERT)
OURS = --method interaction
include $(dir $(lastword $(MAKEFILE_LIST)))interaction-words.mk
LEARNING := textual-inversion p-plus reversion interaction no-prior no-poses no-attention
one_word := textual-inversion p-plus reversion no-poses
LEARNED := $(filter $(LEARNING),$(ROWS))

# How a row draws.
method_sd = --method text
method_controlnet = --method controlnet --controlnet-model $(CONTROLNET)
method_instruct-pix2pix = --method instruct-pix2pix
method_interactdiffusion = --method interactdiffusion
$(foreach row,$(LEARNED),$(eval method_$(row) = --method text --words $(OUT)/words/$(row) \
    --caption $(if $(filter $(row),$(one_word)),2,1)))

needs = data=exemplars=$(or $(SHARDS),$(EXEMPLARS)) data=sentences=$(SENTENCES) \
    model=diffusion/stable-diffusion model=clip/clip model=ground/grounding-dino model=pose/vitpose \
    $(if $(SHARDS),,model=caption/blip2 model=entities/spacy model=segment/sam) \
    $(if $(filter controlnet interaction no-prior no-attention,$(ROWS)),model=controlnet/diffusers=$(CONTROLNET)) \
    $(foreach row,$(filter instruct-pix2pix interactdiffusion,$(ROWS)),model=diffusion/$(row)) \
    $(foreach row,$(filter-out controlnet instruct-pix2pix interactdiffusion,$(ROWS)),draw=sd15:512:30:$(asked)) \
    $(if $(filter controlnet,$(ROWS)),draw=sd15-controlnet:512:30:$(asked)) \
    $(if $(filter instruct-pix2pix,$(ROWS)),draw=sd15:512:100:$(asked)) \
    $(if $(filter interactdiffusion,$(ROWS)),draw=sd15:512:50:$(asked)) \
    $(foreach row,$(LEARNED),train=sd15:512:$(shell expr $(STEPS) '*' $(if $(filter $(row),$(one_word)),4,8)))
# The paper's 200 sentences where the file is not here yet.
asked := $(shell expr $(PICTURES) '*' $(or $(if $(wildcard $(SENTENCES)),$(shell expr $$(wc -l < $(SENTENCES)) - 1)),200))

.PHONY: all
all: $(OUT)/results.md
	@echo "table: $(abspath $<)"
free := ROWS FIRST METRICS SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
include $(dir $(lastword $(MAKEFILE_LIST)))needs.mk

$(OUT)/exemplars/images/.done:
	$(SOCIALCLI) import dreambooth $(EXEMPLARS) -o $(OUT)/exemplars/images && touch $@
# $(call stage,OUTPUT,COMMAND,INPUT)
define stage
$(OUT)/exemplars/$(1)/.done: $(OUT)/exemplars/$(3)/.done
	$(SOCIALCLI) $(2) $(OUT)/exemplars/$(3) -o $(OUT)/exemplars/$(1) --profile $(PROFILE) && touch $$@
endef
$(eval $(call stage,captions,caption,images))
$(eval $(call stage,entities,extract-entities,captions))
$(eval $(call stage,boxes,ground,entities))
$(eval $(call stage,masks,segment,boxes))
$(eval $(call stage,annotated,annotate-pose --with pose,masks))

$(OUT)/sentences.tar: $(wildcard $(SENTENCES)) $(READY)
	$(PYTHON) -m socialcli.benchmarks.sentences $(ANNOTATED) $(SENTENCES) -o $@
$(OUT)/judge/pose_judge.safetensors: $(if $(JUDGING),,$(READY))
	$(SOCIALCLI) train --method pose-judge $(JUDGED) --by $(FIELD) --profile $(PROFILE) $(JUDGE) -o $(OUT)/judge
# Texts of the methods that do not look who the subjects are.
$(OUT)/templates.txt:
	@mkdir -p $(OUT)
	printf '%s\n' 'a person {} a person' > $@

define learned
$(OUT)/words/$(1)/.done: $(READY) $(OUT)/templates.txt
	$$(FIT) $$(learn_$(1)) -o $(OUT)/words/$(1) && touch $$@
endef
$(foreach row,$(LEARNED),$(eval $(call learned,$(row))))

define row
$(OUT)/drawn/$(1)/.done: $(OUT)/sentences.tar $(if $(filter $(1),$(LEARNED)),$(OUT)/words/$(1)/.done)
	$(SOCIALCLI) generate $(OUT)/sentences.tar -o $(OUT)/drawn/$(1) $$(method_$(1)) --profile $(PROFILE) \
	    --per-prompt $(PICTURES) $(DRAW) $$(draw_$(1)) && touch $$@
$(OUT)/scores/$(1)/score.json: $(call when,scores,$(METRICS) $(SCORE)) $(OUT)/judge/pose_judge.safetensors $(OUT)/drawn/$(1)/.done
	$(SOCIALCLI) score $(OUT)/drawn/$(1) --reference $(OUT)/sentences.tar --profile $(PROFILE) \
	    --metrics $(METRICS) --pose-judge $(OUT)/judge --title $(1) $(SCORE) -o $(OUT)/scores/$(1)
endef
$(foreach r,$(ROWS),$(eval $(call row,$(r))))

$(OUT)/results.md: $(call when,rows,$(FIRST) $(ROWS)) $(foreach r,$(ROWS),$(OUT)/scores/$(r)/score.json)
	$(SOCIALCLI) score --compare $(foreach r,$(filter $(FIRST),$(ROWS)) $(filter-out $(FIRST),$(ROWS)),$(OUT)/scores/$(r)) \
	    -o $(OUT)/compared
	$(PYTHON) -m socialcli.benchmarks.table001 table $(OUT)/compared $(OUT)/scores > $@.tmp && mv $@.tmp $@
