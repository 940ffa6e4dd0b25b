# Social context feedback as in Social Context Feedback, section 4.1: 100 steps on HICO-DET, then
# 200 on GazeFollow, 1024 samples a step, from the published SSR-Encoder (docs/feedback.md).
#   make -f pipelines/social-feedback.mk HICO=shards/hico-det-train/annotated \
#       GAZEFOLLOW=shards/gazefollow-train/annotated SSR=models/ssr_encoder \
#       IDENTITY=models/arcface_r100/backbone.pth GAZE=models/gazefollow.pt
# The shards are those of pipelines/hico-det.mk and pipelines/gazefollow.mk. INTERACTION is the
# folder of a recogniser of HICO-DET's classes; without one that feedback is left out, since the
# one in the package knows the rendered world alone.
#
# The same in miniature, on rendered scenes, everything in the package, minutes on two cores:
#   make -f pipelines/social-feedback.mk PROFILE=mini
SOCIALCLI ?= socialcli
PROFILE ?= sd15
RUN ?=

empty :=
space := $(empty) $(empty)
comma := ,
list = $(subst $(space),$(comma),$(strip $(1)))

ifeq ($(PROFILE),mini)
OUT ?= runs/social-feedback-mini
SCENES ?= 512
HICO ?= $(OUT)/scenes
GAZEFOLLOW ?= $(OUT)/scenes
HICO_STEPS ?= 20
GAZE_STEPS ?= 40
SIZES ?= --batch-size 32 --micro-batch 16 --variants 2
RATES ?= --learning-rate 5e-4 --aligner-learning-rate 5e-6
INTERACTION ?=
FIRST ?= boundary identity pose interaction
MODELS ?=
else
OUT ?= runs/social-feedback
HICO ?= shards/hico-det-train/annotated
GAZEFOLLOW ?= shards/gazefollow-train/annotated
HICO_STEPS ?= 100
GAZE_STEPS ?= 200
SSR ?= models/ssr_encoder
IDENTITY ?= models/arcface_r100/backbone.pth
GAZE ?= models/gazefollow.pt
INTERACTION ?=
SIZES ?= --batch-size 1024 --micro-batch 16
RATES ?= --learning-rate 5e-5 --aligner-learning-rate 5e-7
FIRST ?= boundary identity pose $(if $(INTERACTION),interaction)
MODELS ?= --identity-model $(IDENTITY)
endif
SECOND ?= boundary identity gaze pose
TRAIN = $(SOCIALCLI) train --method feedback --profile $(PROFILE) $(SIZES) $(RATES) $(MODELS) $(RUN)

.PHONY: all
all: $(OUT)/gazefollow/.done
	@echo "SSR-Encoder: $(abspath $(OUT)/gazefollow)"

$(OUT)/scenes/.done:
	$(SOCIALCLI) import world -o $(OUT)/scenes --scenes $(SCENES)
	@touch $@

$(OUT)/hico-det/.done: $(if $(filter mini,$(PROFILE)),$(OUT)/scenes/.done)
	$(TRAIN) $(HICO) -o $(OUT)/hico-det --steps $(HICO_STEPS) $(if $(SSR),--ssr-model $(SSR)) \
	    --feedback $(call list,$(FIRST)) \
	    $(if $(INTERACTION),--interaction-model $(INTERACTION))
	@touch $@

$(OUT)/gazefollow/.done: $(OUT)/hico-det/.done
	$(TRAIN) $(GAZEFOLLOW) -o $(OUT)/gazefollow --steps $(GAZE_STEPS) \
	    --ssr-model $(OUT)/hico-det --feedback $(call list,$(SECOND)) \
	    $(if $(GAZE),--gaze-model $(GAZE))
	@touch $@
