# Figure 1 of Towards More Accurate Personalized Image Generation in miniature: likeness to training
# pictures and to test pictures, and CLIP-T, over the steps of one training.
#   make -f pipelines/overfit-mini.mk -j2         an hour of one core; goes on where it was
#   make -f pipelines/overfit-mini.mk METHOD=dreambooth OUT=runs/overfit-dreambooth     the paper's own
#       figure, of a model whose weights are trained: an hour of one core in float32
#   make -f pipelines/overfit-mini.mk SEEDS=0 SUBJECTS=2 STEPS=100 EVERY=50      a first look
#   make -f pipelines/overfit-mini.mk SUBJECTS=20 BATCH=16       all subjects, each learned as long: twice
# Named before any run:
#   effects    between the first and the last step that is drawn: 1. dino_gap (DINO to training pictures
#              less DINO to test pictures) grows. 2. CLIP-T falls. 3. DINO to test pictures falls.
#              (The paper's words: the training set's DINO stays nearly as it is while the model
#              overfits, the test set's goes with CLIP-T. Its figure has no numbers.)
#   pictures   10 subjects x 10 test pictures x CAPTIONS prompts x 3 seeds at each step: 100 sources.
#              A difference of DINO between two steps has a standard deviation of about 0.10 from
#              source to source, so 100 sources see 0.028 with a power of 0.8 at 0.05, and 0.034
#              after Holm's correction for these three; 200 of SUBJECTS=20 see 0.020 and 0.024.
# Words are learned and pictures drawn in bfloat16, which processors without it (no amx_bf16 or
# avx512_bf16 in /proc/cpuinfo) do slowly: PRECISION= DRAW='--steps 20' is float32, in twice the time.
# The word has 8 vectors, enough to learn much by heart; METHOD and FIT take any other method of invert.
# DreamBooth trains all weights of the UNet without pictures of the class, which would hold it back.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= mini
OUT ?= runs/overfit-mini
SEEDS ?= 0 1 2
SUBJECTS ?= 10
TEST ?= $(shell echo $$((10 * $(SUBJECTS))))
METHOD ?= textual-inversion
dreambooth := $(filter dreambooth,$(METHOD))
STEPS ?= $(if $(dreambooth),1000,2000)
EVERY ?= $(if $(dreambooth),200,400)
CAPTIONS ?= 1
# A word sees STEPS x BATCH / SUBJECTS pictures: all subjects are learned in one run.
BATCH ?= $(if $(dreambooth),4,8)
PRECISION ?= --mixed-precision bf16
FIT ?= $(if $(dreambooth),--learning-rate 4e-4,--vectors 8 --learning-rate 5e-3)
# Flags of every drawing, of every score.
DRAW ?= --steps 20 --dtype bfloat16 --batch-size 16
SCORE ?=
METRICS ?= dino,clip-i,clip-t
AT := $(shell seq $(EVERY) $(EVERY) $(STEPS))

.PHONY: overfit-mini
overfit-mini: $(OUT)/results.md
	@echo "table and figure: $(abspath $<) $(abspath $(OUT)/figure.svg)"
free := SEEDS METRICS SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
include $(dir $(lastword $(MAKEFILE_LIST)))identifiers.mk

# The command that learns, and how pictures are drawn with what it has learned.
LEARN := $(if $(dreambooth),train $(OUT)/train --prior-weight 0 $(call identifiers,$(SUBJECTS)),invert $(OUT)/train)
with = $(if $(dreambooth),--model $(1) --subject-word '{identifier} {class}',--words $(1) --subject-word '<{name}>')

$(OUT)/train/.done:
	$(SOCIALCLI) import world subjects-train --scenes $$((5 * $(SUBJECTS))) -o $(OUT)/train && touch $@
$(OUT)/test/.done:
	$(SOCIALCLI) import world subjects-test --scenes $(TEST) -o $(OUT)/test && touch $@
$(OUT)/words/%/.done: $(OUT)/train/.done
	$(SOCIALCLI) $(LEARN) --method $(METHOD) --profile $(PROFILE) -o $(OUT)/words/$* --seed $* --steps $(STEPS) \
	    --save-every $(EVERY) --batch-size $(BATCH) --micro-batch $(BATCH) $(PRECISION) $(FIT) && touch $@

# The words, or the model, after STEP steps; the last are the run's result itself.
words_at = $(OUT)/words/$(2)$(if $(filter $(STEPS),$(1)),,/step-$(shell printf %06d $(1)))
# $(call at,STEP,SEED)
define at
$(OUT)/pictures/$(1)-$(2)/.done: $(OUT)/words/$(2)/.done $(OUT)/test/.done
	$(SOCIALCLI) generate $(OUT)/test -o $(OUT)/pictures/$(1)-$(2) --method text --profile $(PROFILE) \
	    $(call with,$(call words_at,$(1),$(2))) --captions $(CAPTIONS) --seed $(2) $(DRAW) && touch $$@
endef
$(foreach n,$(AT),$(foreach s,$(SEEDS),$(eval $(call at,$(n),$(s)))))

# One score a step over the pictures of all seeds; a test picture counts once in the bootstrap.
define scored
$(OUT)/scores/$(1)/score.json: $(call when,scores,$(SEEDS) $(METRICS) $(SCORE)) $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)/.done)
	$(SOCIALCLI) score $(foreach s,$(SEEDS),$(OUT)/pictures/$(1)-$(s)) --test-set $(OUT)/test \
	    --train-set $(OUT)/train --profile $(PROFILE) --metrics $(METRICS) --title $(1) \
	    --features $(OUT)/features $(SCORE) -o $(OUT)/scores/$(1)
endef
$(foreach n,$(AT),$(eval $(call scored,$(n))))

$(OUT)/results.md: $(foreach n,$(AT),$(OUT)/scores/$(n)/score.json)
	$(SOCIALCLI) score --compare $(foreach n,$(AT),$(OUT)/scores/$(n)) -o $(OUT)/compared > /dev/null
	$(PYTHON) -m socialcli.benchmarks.overfit $(OUT)/compared --figure $(OUT)/figure.svg > $@.tmp
	mv $@.tmp $@
