# The five stages after an import, shared by the data-set Makefiles. The includer sets
#   OUT      where shards go              PROFILE  model choices (docs/models.md)
#   import   a target that has made $(OUT)/images
# and may set
#   N        slices that can run at once with make -jN (default 8)
#   RUN      flags that every stage has, e.g. RUN='--engine slurm --engine-option partition=gpu'
#   WITH     annotate-pose's parts
#   CAPTION, ENTITIES, GROUND, SEGMENT, PEOPLE
#            flags of that stage alone, e.g. PEOPLE='--gaze-model models/gazefollow.pt'
SOCIALCLI ?= socialcli
PROFILE ?= sd15
N ?= 8
WITH ?= identity,pose,gaze,interaction
RUN ?=
CAPTION ?=
ENTITIES ?=
GROUND ?=
SEGMENT ?=
PEOPLE ?=
# Slices and how they are run do not change what is made.
free := N RUN
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk

empty :=
space := $(empty) $(empty)
slices := $(shell seq 0 $$(( $(N) - 1 )))
joined = $(subst $(space),+,$(foreach part,$(1),$(OUT)/$(part)/))

.PHONY: all
all: $(OUT)/annotated/.done

# $(call stage,OUTPUT,COMMAND,INPUTS,AFTER): slice i waits only for slice i of the stage before.
# Where there are fewer shards than slices, some slices have none and make no folder of their own.
define stage
$(OUT)/$(1)/.slice-%: $(4)
	$$(SOCIALCLI) $(2) $$(call joined,$(3)) -o $(OUT)/$(1) --sidecar --profile $$(PROFILE) \
	    --slice $$*/$(N) $$(RUN)
	@mkdir -p $$(@D) && touch $$@
endef
$(eval $(call stage,captions,caption $(CAPTION),images,$(OUT)/images/.done))
$(eval $(call stage,entities,extract-entities $(ENTITIES),images captions,$(OUT)/captions/.slice-%))
$(eval $(call stage,boxes,ground $(GROUND),images captions entities,$(OUT)/entities/.slice-%))
$(eval $(call stage,masks,segment $(SEGMENT),images captions entities boxes,$(OUT)/boxes/.slice-%))
$(eval $(call stage,people,annotate-pose --with $(WITH) $(PEOPLE),images captions entities boxes,$(OUT)/boxes/.slice-%))
.PRECIOUS: $(OUT)/captions/.slice-% $(OUT)/entities/.slice-% $(OUT)/boxes/.slice-% \
    $(OUT)/masks/.slice-% $(OUT)/people/.slice-%

$(OUT)/annotated/.done: $(foreach i,$(slices),$(OUT)/masks/.slice-$(i) $(OUT)/people/.slice-$(i))
	$(SOCIALCLI) merge $(call joined,images captions entities boxes masks people) -o $(OUT)/annotated --overwrite
	$(SOCIALCLI) validate $(OUT)/annotated
	@touch $@
