# Tables 1 and 2 of Social Context Feedback (arXiv 2507.16095), all rows: the annotated training
# pictures of HICO-DET and GazeFollow fine-tune an SSR-Encoder with each loss; the test pictures are drawn anew by
# each row, IP-Adapter and MIP-Adapter (SDXL) among them, and scored. Pipelines hico-det.mk and
# gazefollow.mk make the shards; table1-mini.mk is the same on rendered scenes.
#   make -f pipelines/table-000-1.mk IDENTITY=models/arcface_r100/backbone.pth GAZE=models/gazefollow.pt \
#       INTERACTION=models/ckpt_35175_15.pt POSE=models/unipose_swint.pth MIP=mip-adapter/model_sdxl.bin
#   make -f pipelines/table-000-1.mk ROWS='ssr all' GAZEROWS=        these rows of Table 1 alone
#   make -f pipelines/table-000-1.mk needs      models and data, licences, sizes, what is here, GPU hours
# Where the paper does not say on which data a row was trained: `all` on both, one after the other; gaze
# on GazeFollow, since HICO-DET has no annotated gaze; boundary, identity, pose, interaction and
# `inverse` on HICO-DET; `plain` on the data set of its table. MIP-Adapter draws two subjects, so
# pictures with another number of them are counted as failed.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= sd15
HICO ?= shards/hico-det-train/annotated
GAZEFOLLOW ?= shards/gazefollow-train/annotated
HICO_TEST ?= shards/hico-det-test/annotated
GAZEFOLLOW_TEST ?= shards/gazefollow-test/annotated
OUT ?= runs/table-000-1
SSR ?= models/ssr_encoder
IDENTITY ?= models/arcface_r100/backbone.pth
GAZE ?= models/gazefollow.pt
# X-Pose and CMMP are the paper's; without a file keypoints are ViTPose's, and a folder is a
# recogniser of one's own.
POSE ?=
INTERACTION ?= models/ckpt_35175_15.pt
MIP ?=
HICO_STEPS ?= 100
GAZE_STEPS ?= 200
CURVE_STEPS ?= 40
SIZES ?= --batch-size 1024 --micro-batch 16
RATES ?= --learning-rate 5e-5 --aligner-learning-rate 5e-7
# Flags of every training, of every drawing, of every score.
FIT ?=
DRAW ?=
SCORE ?=
METRICS ?= face,clip-t,clip-i,dino
LOSSES := boundary identity gaze pose interaction
ROWS ?= ip-adapter ssr plain all $(LOSSES) inverse $(if $(MIP),mip-adapter)
GAZEROWS ?= ip-adapter ssr plain all gaze $(if $(MIP),mip-adapter)

comma := ,
ASKS = $(if $(IDENTITY),--identity-model $(IDENTITY)) $(if $(GAZE),--gaze-model $(GAZE)) \
    $(if $(POSE),--pose-backend xpose --pose-model $(POSE) --pose-subjects all) $(RECOGNISER)
RECOGNISER = $(if $(filter %.pt %.pth,$(INTERACTION)),--interaction-backend cmmp) \
    $(if $(INTERACTION),--interaction-model $(INTERACTION))
TRAIN = $(SOCIALCLI) train --method feedback --profile $(PROFILE) $(SIZES) $(RATES) $(ASKS)

# data_NAME, steps_NAME, from_NAME, asks_NAME: a training each.
TRAININGS := plain-hico plain-gaze all-hico all gaze boundary identity pose interaction inverse
data = $(if $(filter plain-gaze all gaze,$(1)),$(GAZEFOLLOW),$(HICO))
steps = $(if $(filter plain-gaze all gaze,$(1)),$(GAZE_STEPS),$(HICO_STEPS))
feedback_plain-hico := none
feedback_plain-gaze := none
feedback_all-hico := boundary,identity,pose,interaction
feedback_all := boundary,identity,gaze,pose
feedback_inverse = $(feedback_all-hico) --weighting inverse --curves $(OUT)/curves.json
feedback = $(or $(feedback_$(1)),$(1))

# Which training a row draws with: $(call made,ROW,TABLE)
made = $(if $(filter plain,$(1)),plain-$(if $(filter hico-det,$(2)),hico,gaze),$(1))
method = $(strip $(if $(filter ip-adapter,$(1)),--method ip-adapter, \
    $(if $(filter mip-adapter,$(1)),--method mip-adapter --adapter-model $(MIP) --size 512 --per-subject --max-error-rate 1, \
    --method ssr --ssr-model $(if $(filter ssr,$(1)),$(SSR),$(OUT)/models/$(call made,$(1),$(2))))))
trained = $(if $(filter ip-adapter mip-adapter ssr,$(1)),,$(OUT)/models/$(call made,$(1),$(2))/.done)
test_hico-det = $(HICO_TEST)
test_gazefollow = $(GAZEFOLLOW_TEST)
metrics_hico-det = hoi,$(METRICS)
metrics_gazefollow = gaze,$(METRICS)
judges_hico-det = $(RECOGNISER)
judges_gazefollow = $(if $(GAZE),--gaze-model $(GAZE))
TABLES := $(if $(ROWS),hico-det) $(if $(GAZEROWS),gazefollow)
rows_hico-det := $(ROWS)
rows_gazefollow := $(GAZEROWS)

batch = $(or $(word 2,$(SIZES)),1024)
used := $(sort $(foreach t,$(TABLES),$(foreach r,$(filter-out ip-adapter mip-adapter ssr,$(rows_$(t))),$(call made,$(r),$(t)))))
used += $(if $(filter all,$(used)),all-hico)
needs = data=hico-det=$(HICO) data=gazefollow=$(GAZEFOLLOW) model=diffusion/stable-diffusion model=ssr/ssr-encoder=$(SSR) \
    model=face/iresnet=$(IDENTITY) model=face/insightface model=gaze/sharingan=$(GAZE) \
    $(if $(POSE),model=pose/xpose=$(POSE),model=pose/vitpose) $(if $(INTERACTION),model=interaction/cmmp=$(INTERACTION)) \
    $(if $(filter ip-adapter,$(ROWS) $(GAZEROWS)),model=adapter/ip-adapter) \
    $(if $(filter mip-adapter,$(ROWS) $(GAZEROWS)),model=adapter/mip-adapter=$(MIP) model=diffusion/sdxl) \
    model=ground/grounding-dino model=clip/clip model=dino/vit \
    $(foreach t,$(used),train=sd15:512:$(shell expr $(call steps,$(t)) '*' $(batch))) \
    $(foreach r,$(ROWS),draw=$(if $(filter mip-adapter,$(r)),sdxl,sd15):512:30:9546) \
    $(foreach r,$(GAZEROWS),draw=$(if $(filter mip-adapter,$(r)),sdxl,sd15):512:30:4782)

.PHONY: all
all: $(OUT)/results.md
	@echo "tables: $(abspath $<)"
free := ROWS GAZEROWS MIP METRICS SCORE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
include $(dir $(lastword $(MAKEFILE_LIST)))needs.mk

$(OUT)/curves.json:
	$(TRAIN) $(HICO) -o $(OUT)/models/curves --ssr-model $(SSR) --steps $(CURVE_STEPS) \
	    --feedback $(feedback_all-hico) --write-curves $@ $(FIT)

# $(call training,NAME)
define training
$(OUT)/models/$(1)/.done: $(if $(filter all,$(1)),$(OUT)/models/all-hico/.done) $(if $(filter inverse,$(1)),$(OUT)/curves.json)
	$(TRAIN) $(call data,$(1)) -o $(OUT)/models/$(1) --steps $(call steps,$(1)) \
	    --ssr-model $(if $(filter all,$(1)),$(OUT)/models/all-hico,$(SSR)) --feedback $(call feedback,$(1)) $(FIT) && touch $$@
endef
$(foreach t,$(TRAININGS),$(eval $(call training,$(t))))

# $(call row,TABLE,ROW)
define row
$(OUT)/$(1)/$(2)/.done: $(if $(filter mip-adapter,$(2)),$(call when,mip-adapter,$(MIP))) $(call trained,$(2),$(1))
	$(if $(filter mip-adapter,$(2)),$$(call anew,mip-adapter,$$(MIP)))
	$(SOCIALCLI) generate $(test_$(1)) -o $(OUT)/$(1)/$(2) --profile $(PROFILE) \
	    $(call method,$(2),$(1)) $(DRAW) $(draw_$(2)) && touch $$@
$(OUT)/$(1)/scores/$(2)/score.json: $(call when,scores,$(METRICS) $(SCORE)) $(OUT)/$(1)/$(2)/.done
	$(SOCIALCLI) score $(OUT)/$(1)/$(2) --reference $(test_$(1)) --profile $(PROFILE) --title $(2) \
	    --metrics $(metrics_$(1)) $(judges_$(1)) $(SCORE) -o $(OUT)/$(1)/scores/$(2)
endef
$(foreach t,$(TABLES),$(foreach r,$(rows_$(t)),$(eval $(call row,$(t),$(r)))))

# $(call compared,TABLE)
first = $(or $(filter plain,$(rows_$(1))),$(firstword $(rows_$(1))))
define compared
$(OUT)/$(1)/compared/compare.json: $(call when,rows-$(1),$(rows_$(1))) $(foreach r,$(rows_$(1)),$(OUT)/$(1)/scores/$(r)/score.json)
	$(SOCIALCLI) score --compare $(foreach r,$(call first,$(1)) $(filter-out $(call first,$(1)),$(rows_$(1))),$(OUT)/$(1)/scores/$(r)) \
	    -o $(OUT)/$(1)/compared
endef
$(foreach t,$(TABLES),$(eval $(call compared,$(t))))
$(OUT)/results.md: $(call when,tables,$(TABLES)) $(foreach t,$(TABLES),$(OUT)/$(t)/compared/compare.json)
	$(PYTHON) -m socialcli.benchmarks.table1 $(foreach t,$(TABLES),$(t)=$(OUT)/$(t)/compared) > $@.tmp && mv $@.tmp $@
