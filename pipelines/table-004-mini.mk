# Table 1 of Multi-Subject Personalization (arXiv 2405.12742) in miniature: eleven subjects of the
# rendered world (people, animals, things) with eleven pictures each, eleven compositions of one, two,
# three and four of them in five places, PER pictures of each. Subjects are words of textual inversion;
# in the rows dreambooth and dreambooth-free-gd, identifiers of one DreamBooth LoRA.
#   make -f pipelines/table-004-mini.mk             hours on two cores; goes on where it was
#   make -f pipelines/table-004-mini.mk SEEDS=0 LAYOUTS=11 PER=1 STEPS=20 WORD_STEPS=100   a first look
# Named before the run: 55 layouts x 4 pictures x 3 seeds = 660 pictures a row, and these effects:
#   1. without a layout (words), subjects are missing more often the more of them there are; with one
#      (free-gd) their share at three and more is smaller than without;
#   2. CLIP-I of the subjects falls with their number without a layout, and less with one;
#   3. the global diffuser (gd) raises CLIP-T of the whole prompt, and lowers no CLIP-I by 0.02;
#   4. with ControlNet fewer subjects are missing than without (control-gd against free-gd);
#   5. the subject-aware loss (sal) raises SAS at every number of subjects. Guide and judge of SAS are
#      one network, as in the paper; CLIP-I is the independent judge.
# Ends with OUT/results.md: each figure by the number of subjects, beside the paper's numbers.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= mini
OUT ?= runs/table-004-mini
SEEDS ?= 0 1 2
PICTURES ?= 121
LAYOUTS ?= 55
EVERY ?= 1
PER ?= 4
STEPS ?= 40
WORD_STEPS ?= 1000
DREAM_STEPS ?= 2000
PRIOR ?= --class-count 20
SEG_STEPS ?= 3700
# Of the subject segmentation, and which reading of the subject-aware loss guides.
SEGMENT ?=
SAL ?= entropy
# Flags of every drawing, of every score.
DRAW ?=
SCORE ?=
IDENTIFIERS := sks ktn pll ucd zwx olis mth vbr qel hta wjd
CONTROLNET ?= socialcli/miniature/weights/controlnet

# Of 80 steps the paper's global diffuser takes 8 with a scaffolding image, else 2.
MANY := $(shell expr \( $(STEPS) + 9 \) / 10)
FEW := $(shell expr \( $(STEPS) + 39 \) / 40)
ROWS := dreambooth words multidiffusion scaffold scaffold-gd free free-gd free-gd-end \
    scaffold-gd-sal free-sal free-gd-sal control-gd dreambooth-free-gd
method_words := --method text --guidance 7.5
method_dreambooth := $(method_words)
method_multidiffusion := --method multidiffusion --scheduler UniPCMultistepScheduler
COMPOSITE := --method composite
method_scaffold := $(COMPOSITE) --scaffold '\#9aa5b1' --global-steps 0
method_scaffold-gd := $(COMPOSITE) --scaffold '\#9aa5b1' --global-steps $(MANY)
method_free := $(COMPOSITE) --global-steps 0
method_free-gd := $(COMPOSITE) --global-steps $(FEW)
method_free-gd-end := $(method_free-gd) --global-at end
GUIDED = --sal $(SAL) --sal-model $(OUT)/segmentation
method_scaffold-gd-sal = $(method_scaffold-gd) $(GUIDED)
method_free-sal = $(method_free) $(GUIDED)
method_free-gd-sal = $(method_free-gd) $(GUIDED)
method_dreambooth-free-gd := $(method_free-gd)
method_control-gd := $(method_free-gd) --controlnet-model $(CONTROLNET)

.PHONY: all
all: $(OUT)/results.md
	@echo "table: $(abspath $<)"
.SECONDARY:

$(OUT)/eleven/.done:
	$(SOCIALCLI) import world eleven --scenes $(PICTURES) -o $(OUT)/eleven && touch $@
$(OUT)/layouts/.done:
	$(SOCIALCLI) import world compositions --scenes $(LAYOUTS) --every $(EVERY) --called 'a <{name}>' \
	    -o $(OUT)/layouts && touch $@

$(OUT)/named/.done:
	$(SOCIALCLI) import world compositions --scenes $(LAYOUTS) --every $(EVERY) \
	    --called 'a {identifier} {class}' -o $(OUT)/named && touch $@

# What subjects are learned as, and the layouts that call them so: $(call learned,ROW,SEED).
learned = $(if $(findstring dreambooth,$(1)),$(OUT)/dreambooth-$(2)/pytorch_lora_weights.safetensors,$(OUT)/words-$(2)/learned_embeds.safetensors)
called = $(OUT)/$(if $(findstring dreambooth,$(1)),named,layouts)
# $(call row,ROW,SEED)
define row
$(OUT)/pictures/$(1)-$(2)/.done: $(call learned,$(1),$(2)) $(call called,$(1))/.done \
    $(if $(findstring -sal,$(1)),$(OUT)/segmentation/model.safetensors)
	$(SOCIALCLI) generate $(call called,$(1)) -o $(OUT)/pictures/$(1)-$(2) $(method_$(1)) \
	    $(if $(findstring dreambooth,$(1)),--lora,--words) $(call learned,$(1),$(2)) \
	    --per-prompt $(PER) --steps $(STEPS) --seed $(2) --profile $(PROFILE) $(DRAW) && touch $$@
endef
$(foreach r,$(ROWS),$(foreach s,$(SEEDS),$(eval $(call row,$(r),$(s)))))

$(OUT)/dreambooth-%/pytorch_lora_weights.safetensors: $(OUT)/eleven/.done
	$(SOCIALCLI) train $(OUT)/eleven -o $(OUT)/dreambooth-$* --method dreambooth --adapter lora \
	    --rank 16 --profile $(PROFILE) --seed $* --augment 0.9 --steps $(DREAM_STEPS) \
	    $(addprefix --identifier ,$(IDENTIFIERS)) $(PRIOR)
$(OUT)/words-%/learned_embeds.safetensors: $(OUT)/eleven/.done
	$(SOCIALCLI) invert $(OUT)/eleven -o $(OUT)/words-$* --profile $(PROFILE) --seed $* \
	    --templates captions --steps $(WORD_STEPS) --learning-rate 5e-3

$(OUT)/segmentation/model.safetensors: $(OUT)/eleven/.done
	$(SOCIALCLI) train $(OUT)/eleven -o $(OUT)/segmentation --method subject-segmentation --size 96 \
	    --steps $(SEG_STEPS) $(SEGMENT)

# One score a row over the pictures of all seeds; a layout counts once in the bootstrap.
define scored
$(OUT)/scores/$(1)/score.json: $(OUT)/segmentation/model.safetensors \
    $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)/.done)
	$(SOCIALCLI) score $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)) --profile $(PROFILE) \
	    --reference $(call called,$(1)) --reference $(OUT)/eleven --against layout \
	    --metrics subjects,clip-t,sas --crops both --segmentation-model $(OUT)/segmentation --title $(1) $(SCORE) -o $(OUT)/scores/$(1)
endef
$(foreach r,$(ROWS),$(eval $(call scored,$(r))))

$(OUT)/results.md: $(foreach r,$(ROWS),$(OUT)/scores/$(r)/score.json)
	$(PYTHON) -m socialcli.benchmarks.table004 $(ROWS:%=$(OUT)/scores/%) > $@.tmp && mv $@.tmp $@
