# Table 1 of Multi-Subject Personalization (arXiv 2405.12742) in miniature: eleven subjects of the
# rendered world (people, animals, things) with eleven pictures each, eleven compositions of one, two,
# three and four of them in five places, PER pictures of each. Subjects are words of textual inversion;
# in the rows dreambooth and dreambooth-free-gd, identifiers of one DreamBooth LoRA.
#   make -f pipelines/table-004-mini.mk             two and a half hours of one core; goes on where it was
#   make -f pipelines/table-004-mini.mk SEEDS=0 LAYOUTS=11 WORD_STEPS=100      a first look
#   make -f pipelines/table-004-mini.mk PER=4 STEPS=40      four times the pictures, twice the steps
# Named before the run:
#   effects    1. without a layout (words), subjects are missing more often the more of them there are;
#                 with one (free-gd) their share at three and more is smaller than without;
#              2. CLIP-I of the subjects falls with their number without a layout, and less with one;
#              3. the global diffuser (gd) raises CLIP-T of the whole prompt, and lowers no CLIP-I by
#                 0.02;
#              4. with ControlNet fewer subjects are missing than without (control-gd against free-gd);
#              5. the subject-aware loss (sal) raises SAS at every number of subjects. Guide and judge
#                 of SAS are one network, as in the paper; CLIP-I is the independent judge.
#   pictures   55 layouts x 3 seeds: 165 pictures a row, a layout counts once. In a first look (11
#              layouts, a picture each) figures of a row had a standard deviation from layout to
#              layout of 0.16 to 0.29 in the share of missing subjects and of 0.4 to 0.6 in CLIP-T. If
#              rows differ independently, 55 layouts see, with a power of 0.8 at p = 0.05, differences
#              of 0.14 in missing (4; 0.16 of the 25 layouts of three and four, 1) and 0.29 in CLIP-T
#              (3); if all of that is the noise of single pictures, which three seeds average, of 0.08,
#              0.09 and 0.17. Holm's correction of the 8 tests asks for a quarter more in the first.
#              PER=4 helps little beyond that: layouts are what is few. SAS with and without sal
#              differed with a standard deviation of 0.006 in the trial of --sal (15 layouts, a picture
#              each), so that 0.0023 is seen (5); CLIP-I, as it was measured then, with one of 0.02 to
#              0.03, so that 0.01 is.
# Ends with OUT/results.md: each figure by the number of subjects, beside the paper's numbers, and what
# became of the effects.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= mini
OUT ?= runs/table-004-mini
SEEDS ?= 0 1 2
PICTURES ?= 121
LAYOUTS ?= 55
EVERY ?= 1
PER ?= 1
STEPS ?= 20
WORD_STEPS ?= 1000
DREAM_STEPS ?= 2000
CUSTOM_STEPS ?= 500
PRIOR ?= --class-count 20
SEG_STEPS ?= 925
# Of the subject segmentation: as many pictures as 3,700 steps of four, in the time of a third of them.
SEGMENT ?= --batch-size 16 --micro-batch 16 --learning-rate 1e-3 --warm-up 30 --schedule cosine
# Which reading of the subject-aware loss guides: docs/results/subjects.md says why.
SAL ?= segment
# Flags of every drawing, of every score. All trains and draws in bfloat16, which processors without it
# (no amx_bf16 or avx512_bf16 in /proc/cpuinfo) do slowly: PRECISION= DRAW= is float32, in twice the time.
PRECISION ?= --mixed-precision bf16
DRAW ?= --dtype bfloat16 --batch-size 16
SCORE ?=
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
include $(HERE)identifiers.mk
ELEVEN := $(wordlist 1,11,$(IDENTIFIERS))
# The package's own, from a checkout or from an installed package.
CONTROLNET ?= $(firstword $(wildcard $(addsuffix miniature/weights/controlnet,$(HERE)../ $(HERE)../socialcli/)))

# Of 80 steps the paper's global diffuser takes 8 with a scaffolding image, else 2.
MANY := $(shell expr \( $(STEPS) + 9 \) / 10)
FEW := $(shell expr \( $(STEPS) + 39 \) / 40)
# Rows that are drawn, those with a named effect first. Besides them there are free-gd-end, free-sal,
# scaffold-sal, scaffold-gd-sal and dreambooth-free-gd.
ROWS ?= words free-gd free control-gd free-gd-sal dreambooth custom-diffusion multidiffusion scaffold \
    scaffold-gd
method_words := --method text --guidance 7.5
method_dreambooth := $(method_words)
method_custom-diffusion := $(method_words)
method_multidiffusion := --method multidiffusion --scheduler UniPCMultistepScheduler
COMPOSITE := --method composite
method_scaffold := $(COMPOSITE) --scaffold '\#9aa5b1' --global-steps 0
method_scaffold-gd := $(COMPOSITE) --scaffold '\#9aa5b1' --global-steps $(MANY)
method_free := $(COMPOSITE) --global-steps 0
method_free-gd := $(COMPOSITE) --global-steps $(FEW)
method_free-gd-end := $(method_free-gd) --global-at end
GUIDED = --sal $(SAL) --sal-model $(OUT)/segmentation
method_scaffold-sal = $(method_scaffold) $(GUIDED)
method_scaffold-gd-sal = $(method_scaffold-gd) $(GUIDED)
method_free-sal = $(method_free) $(GUIDED)
method_free-gd-sal = $(method_free-gd) $(GUIDED)
method_dreambooth-free-gd := $(method_free-gd)
method_control-gd := $(method_free-gd) --controlnet-model $(CONTROLNET)

.PHONY: all
all: $(OUT)/results.md
	@echo "table: $(abspath $<)"
free := SEEDS ROWS SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk

$(OUT)/eleven/.done:
	$(SOCIALCLI) import world eleven --scenes $(PICTURES) -o $(OUT)/eleven && touch $@
$(OUT)/layouts/.done:
	$(SOCIALCLI) import world compositions --scenes $(LAYOUTS) --every $(EVERY) --called 'a <{name}>' \
	    -o $(OUT)/layouts && touch $@

$(OUT)/named/.done:
	$(SOCIALCLI) import world compositions --scenes $(LAYOUTS) --every $(EVERY) \
	    --called 'a {identifier} {class}' -o $(OUT)/named && touch $@
$(OUT)/concepts/.done:
	$(SOCIALCLI) import world compositions --scenes $(LAYOUTS) --every $(EVERY) \
	    --called 'a <{identifier}> {class}' -o $(OUT)/concepts && touch $@

# What a row's subjects are learned by, the file that this ends with, how it is given to generate, and
# the layouts that call them so.
by = $(or $(findstring dreambooth,$(1)),$(findstring custom-diffusion,$(1)),words)
file_words := learned_embeds.safetensors
file_dreambooth := pytorch_lora_weights.safetensors
file_custom-diffusion := delta.bin
with_words := --words
with_dreambooth := --lora
with_custom-diffusion := --custom-diffusion
called_words := layouts
called_dreambooth := named
called_custom-diffusion := concepts
learned = $(OUT)/$(call by,$(1))-$(2)/$(file_$(call by,$(1)))
called = $(OUT)/$(called_$(call by,$(1)))
# $(call row,ROW,SEED)
define row
$(OUT)/pictures/$(1)-$(2)/.done: $(call learned,$(1),$(2)) $(call called,$(1))/.done \
    $(if $(findstring -sal,$(1)),$(OUT)/segmentation/model.safetensors)
	$(SOCIALCLI) generate $(call called,$(1)) -o $(OUT)/pictures/$(1)-$(2) $(method_$(1)) \
	    $(with_$(call by,$(1))) $(call learned,$(1),$(2)) \
	    --per-prompt $(PER) --steps $(STEPS) --seed $(2) --profile $(PROFILE) $(DRAW) && touch $$@
endef
$(foreach r,$(ROWS),$(foreach s,$(SEEDS),$(eval $(call row,$(r),$(s)))))

# Class pictures are drawn once, by the DreamBooth that has some already or the first one; all others are
# given them, whichever SEEDS are asked for then. $(call others,SEED)
class_pictures := $(sort $(wildcard $(OUT)/dreambooth-*/class-pictures))
first := $(firstword $(class_pictures:$(OUT)/dreambooth-%/class-pictures=%) $(SEEDS))
drawn := $(OUT)/dreambooth-$(first)
others = $(if $(filter $(first),$(1)),,--class-pictures $(drawn)/class-pictures)
define subjects
$(OUT)/dreambooth-$(1)/pytorch_lora_weights.safetensors: $(OUT)/eleven/.done \
    | $(if $(call others,$(1)),$(drawn)/pytorch_lora_weights.safetensors)
	$(SOCIALCLI) train $(OUT)/eleven -o $(OUT)/dreambooth-$(1) --method dreambooth --adapter lora \
	    --rank 16 --profile $(PROFILE) --seed $(1) --augment 0.9 --steps $(DREAM_STEPS) \
	    $(addprefix --identifier ,$(ELEVEN)) $(PRIOR) $(call others,$(1)) $(PRECISION)
$(OUT)/custom-diffusion-$(1)/delta.bin: $(OUT)/eleven/.done | $(drawn)/pytorch_lora_weights.safetensors
	$(SOCIALCLI) train $(OUT)/eleven -o $(OUT)/custom-diffusion-$(1) --method custom-diffusion \
	    --profile $(PROFILE) --seed $(1) --steps $(CUSTOM_STEPS) --learning-rate 4e-4 \
	    $(ELEVEN:%=--identifier '<%>') $(PRIOR) --class-pictures $(drawn)/class-pictures $(PRECISION)
endef
$(foreach s,$(sort $(first) $(SEEDS)),$(eval $(call subjects,$(s))))
$(OUT)/words-%/learned_embeds.safetensors: $(OUT)/eleven/.done
	$(SOCIALCLI) invert $(OUT)/eleven -o $(OUT)/words-$* --profile $(PROFILE) --seed $* \
	    --templates captions --steps $(WORD_STEPS) --learning-rate 5e-3 $(PRECISION)

$(OUT)/segmentation/model.safetensors: $(OUT)/eleven/.done
	$(SOCIALCLI) train $(OUT)/eleven -o $(OUT)/segmentation --method subject-segmentation --size 96 \
	    --steps $(SEG_STEPS) $(PRECISION) $(SEGMENT)

# One score a row over the pictures of all seeds; a layout counts once in the bootstrap.
define scored
$(OUT)/scores/$(1)/score.json: $(call when,scores,$(SEEDS) $(SCORE)) $(OUT)/segmentation/model.safetensors \
    $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)/.done)
	$(SOCIALCLI) score $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)) --profile $(PROFILE) \
	    --reference $(call called,$(1)) --reference $(OUT)/eleven --against layout \
	    --metrics subjects,clip-t,sas --crops both --segmentation-model $(OUT)/segmentation \
	    --features $(OUT)/features --title $(1) $(SCORE) -o $(OUT)/scores/$(1)
endef
$(foreach r,$(ROWS),$(eval $(call scored,$(r))))

$(OUT)/results.md: $(call when,rows,$(ROWS)) $(foreach r,$(ROWS),$(OUT)/scores/$(r)/score.json)
	$(PYTHON) -m socialcli.benchmarks.table004 $(ROWS:%=$(OUT)/scores/%) > $@.tmp && mv $@.tmp $@
