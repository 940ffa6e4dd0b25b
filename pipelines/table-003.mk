# Tables I and III of Identity Embedding (arXiv 2402.00631): one photograph of each person, learned or
# read by DreamBooth, Custom Diffusion, Textual Inversion, ProSpect, Celeb Basis, FastComposer and the
# paper's own method; and its comparison on SDXL (Figure 16) with IP-Adapter FaceID, PhotoMaker and
# InstantID.
#   make -f pipelines/table-003.mk PEOPLE=photos/people NAMES=names.txt
#   make -f pipelines/table-003.mk ROWS='identity none word prompt pairs1 pairs10' XL=      Table III
#   make -f pipelines/table-003.mk needs      models and data, licences, sizes, what is here, GPU hours
# PEOPLE is a folder with a folder for each person, one photograph of a face in each (the paper:
# CelebA-HQ's and StyleGAN's). A prompts_and_classes.txt of DreamBooth's form in it says what each is
# and what is drawn; without one everybody is a CLASS, and the prompts are those that the paper's text
# quotes. NAMES are names of known people, one a line, which Celeb Basis needs (docs/words.md): without
# them that row is left out.
# The cells of the paper's tables are not known here; what its text says stands below the tables.
SOCIALCLI ?= socialcli
PYTHON ?= python
PROFILE ?= sd15
PEOPLE ?= photos/people
CLASS ?= person
NAMES ?=
OUT ?= runs/table-003
# The paper draws with Stable Diffusion 1.4.
MODEL ?= CompVis/stable-diffusion-v1-4
XLMODEL ?= stabilityai/stable-diffusion-xl-base-1.0
FACEID ?= faceid/ip-adapter-faceid_sdxl.bin
PHOTOMAKER ?= photomaker/photomaker-v1.bin
INSTANTID ?= instantid/ip-adapter.bin
# Flags of every training, of class pictures, of every drawing (SD 1.4, SDXL), of every score.
FIT ?=
PRIOR ?=
DRAW ?= --scheduler DDIM --steps 50 --guidance 7.5
XLDRAW ?= --scheduler DDIM --steps 50
SCORE ?=
METRICS ?= prompt,id,detect,id-p,id-f,detect-f
THRESHOLD ?= 0.23
# How many prompts of a person are drawn, and the one that shows a face alone.
CAPTIONS ?= 100
FACE ?= a photo of the face of {}
ROWS ?= identity dreambooth custom-diffusion textual-inversion prospect $(if $(NAMES),celeb-basis) fastcomposer
XL ?= identity-xl faceid photomaker instantid

NOBODY := $(if $(wildcard $(PEOPLE)/*/),,somebody)
PERSONS := $(or $(notdir $(patsubst %/,%,$(wildcard $(PEOPLE)/*/))),$(NOBODY))
COUNT := $(words $(PERSONS))
comma := ,

# Words: all people of a row in one run, each with a step of its own, so that it does not matter who
# else is in it.
WORDS := textual-inversion prospect celeb-basis identity none word prompt pairs1 pairs10 identity-xl
learn_textual-inversion = --method textual-inversion --templates face
learn_prospect = --method prospect --templates face
learn_celeb-basis = --method celeb-basis --names $(NAMES)
learn_identity = --method identity
learn_none = --method identity --attention-weight 0
learn_word = --method identity --attention-tokens word
learn_prompt = --method identity --attention-tokens prompt
learn_pairs1 = --method identity --pairs 1
learn_pairs10 = --method identity --pairs 10
learn_identity-xl = --method identity --backend sdxl
steps_textual-inversion ?= 3000
steps_celeb-basis ?= 400
steps = $(or $(steps_$(1)),1000)
# Models: one for each person.
TUNED := dreambooth custom-diffusion
steps_dreambooth ?= 800
steps_custom-diffusion ?= 1000
with_dreambooth = --model $(1)
with_custom-diffusion = --model $(MODEL) --custom-diffusion $(1)

# How a row draws.
$(foreach row,$(WORDS),$(eval method_$(row) = --method text --model $(MODEL) \
    --words $(OUT)/words/$(row)-0 --subject-word '<{name}>'))
method_identity-xl = --method text --backend sdxl --model $(XLMODEL) --words $(OUT)/words-xl/identity-0 \
    --subject-word '<{name}>'
method_fastcomposer = --method fastcomposer
method_faceid = --method ip-adapter --backend sdxl --model $(XLMODEL) --adapter-model $(FACEID)
method_photomaker = --method photomaker --model $(XLMODEL) --adapter-model $(PHOTOMAKER) --subject-word '{class} img'
method_instantid = --method instantid --model $(XLMODEL) --adapter-model $(INSTANTID) --guidance 5

pictures = $(shell expr $(COUNT) '*' $(if $(filter 100,$(CAPTIONS)),13,$(CAPTIONS)))
needs = data=people=$(PEOPLE) model=diffusion/stable-diffusion=$(MODEL) model=clip/clip model=face/insightface \
    $(if $(filter celeb-basis,$(ROWS)),data=names=$(NAMES)) \
    $(if $(filter fastcomposer,$(ROWS)),model=diffusion/fastcomposer) \
    $(if $(XL),model=diffusion/sdxl=$(XLMODEL)) \
    $(if $(filter faceid,$(XL)),model=adapter/ip-adapter-faceid=$(FACEID)) \
    $(if $(filter photomaker,$(XL)),model=adapter/photomaker=$(PHOTOMAKER)) \
    $(if $(filter instantid,$(XL)),model=adapter/instantid=$(INSTANTID)) \
    $(foreach row,$(ROWS),draw=sd15:512:50:$(pictures)) $(foreach row,$(XL),draw=sdxl:1024:50:$(pictures)) \
    $(foreach row,$(filter $(WORDS) $(TUNED),$(ROWS)),train=sd15:512:$(shell expr $(COUNT) '*' $(call steps,$(row)))) \
    $(if $(filter identity-xl,$(XL)),train=sdxl:1024:$(shell expr $(COUNT) '*' 1000))

.PHONY: all
all: $(OUT)/results.md
	@echo "tables: $(abspath $<)"
free := ROWS XL NAMES METRICS SCORE THRESHOLD FACE
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
include $(dir $(lastword $(MAKEFILE_LIST)))needs.mk

$(OUT)/prompts_and_classes.txt: $(wildcard $(PEOPLE)/prompts_and_classes.txt)
	@mkdir -p $(OUT)
	$(if $<,cp $< $@,$(PYTHON) -m socialcli.benchmarks.identity_tables prompts $(CLASS) $(PERSONS) > $@.tmp && mv $@.tmp $@)

# $(call imported,NAME,PERSONS): DreamBooth's layout of some of the people, and its shards.
define imported
$(OUT)/$(1)/.done: $(OUT)/prompts_and_classes.txt
	@mkdir -p $(OUT)/source/$(1)
	$(foreach p,$(2),ln -sfn $(abspath $(PEOPLE)/$(p)) $(OUT)/source/$(1)/$(p) && )cp $$< $(OUT)/source/$(1)/
	$(SOCIALCLI) import dreambooth $(OUT)/source/$(1) -o $(OUT)/$(1) && touch $$@
endef
$(eval $(call imported,people,$(PERSONS)))
$(foreach p,$(PERSONS),$(eval $(call imported,one/$(p),$(p))))
# Celeb Basis reads an embedding of the face.
$(OUT)/faces/.done: $(OUT)/people/.done
	$(SOCIALCLI) annotate-pose $(OUT)/people --with identity -o $(OUT)/faces --profile $(PROFILE) && touch $@

# $(call learned,ROW,FOLDER,MODEL)
define learned
$(2)/.done: $(OUT)/$(if $(filter celeb-basis,$(1)),faces,people)/.done $(if $(filter celeb-basis,$(1)),$(call when,names,$(NAMES)))
	$(if $(filter celeb-basis,$(1)),$$(call anew,names,$$(NAMES)))
	$(SOCIALCLI) invert $$(<D) -o $(2) --profile $(PROFILE) --model $(3) --steps $(call steps,$(1)) \
	    --batch-size $(COUNT) --micro-batch 1 --max-grad-norm 0 $$(learn_$(1)) $(FIT) && touch $$@
$(OUT)/pictures/$(1)/.done: $(2)/.done
endef
$(foreach row,$(filter $(WORDS),$(ROWS)),$(eval $(call learned,$(row),$(OUT)/words/$(row)-0,$(MODEL))))
$(if $(filter identity-xl,$(XL)),$(eval $(call learned,identity-xl,$(OUT)/words-xl/identity-0,$(XLMODEL))))

# $(call tuned,ROW,PERSON)
define tuned
$(OUT)/models/$(1)/$(2)/.done: $(OUT)/one/$(2)/.done
	$(SOCIALCLI) train --method $(1) $(OUT)/one/$(2) -o $(OUT)/models/$(1)/$(2) --profile $(PROFILE) \
	    --model $(MODEL) --steps $(call steps,$(1)) $(PRIOR) $(FIT) && touch $$@
$(OUT)/pictures/$(1)/$(2)/.done: $(OUT)/models/$(1)/$(2)/.done
	$(SOCIALCLI) generate $(OUT)/one/$(2) -o $(OUT)/pictures/$(1)/$(2) --method text --profile $(PROFILE) \
	    $(call with_$(1),$(OUT)/models/$(1)/$(2)) --subject-word '{identifier} {class}' \
	    --captions $(CAPTIONS) $(DRAW) && touch $$@
$(OUT)/pictures/$(1)/.done: $(OUT)/pictures/$(1)/$(2)/.done
endef
$(foreach row,$(filter $(TUNED),$(ROWS)),$(foreach p,$(PERSONS),$(eval $(call tuned,$(row),$(p)))))

# $(call drawn,ROW,FLAGS)
define drawn
$(OUT)/pictures/$(1)/.done: $(OUT)/people/.done
	$(if $(filter celeb-basis,$(1)),$$(call anew,names,$$(NAMES)))
	$(if $(filter $(1),$(TUNED)),,$(SOCIALCLI) generate $(OUT)/people -o $(OUT)/pictures/$(1) \
	    --profile $(PROFILE) --captions $(CAPTIONS) $(2) $$(method_$(1)) &&) touch $$@
$(OUT)/scores/$(1)/score.json: $(call when,scores,$(METRICS) $(THRESHOLD) $(FACE) $(SCORE)) $(OUT)/pictures/$(1)/.done
	$(SOCIALCLI) score $(if $(filter $(1),$(TUNED)),$(PERSONS:%=$(OUT)/pictures/$(1)/%),$(OUT)/pictures/$(1)) \
	    --reference $(OUT)/people --profile $(PROFILE) --metrics $(METRICS) --title $(1) \
	    --face-prompt '$(FACE)' --prompt-threshold $(THRESHOLD) $(SCORE) -o $(OUT)/scores/$(1)
endef
$(foreach row,$(ROWS),$(eval $(call drawn,$(row),$(DRAW))))
$(foreach row,$(XL),$(eval $(call drawn,$(row),$(XLDRAW))))

# $(call compared,NAME,ROWS)
define compared
$(OUT)/compared/$(1)/compare.json: $(call when,rows-$(1),$(2)) $(foreach row,$(2),$(OUT)/scores/$(row)/score.json)
	$(SOCIALCLI) score --compare $(foreach row,$(2),$(OUT)/scores/$(row)) -o $(OUT)/compared/$(1)
endef
$(eval $(call compared,sd,$(ROWS)))
$(if $(XL),$(eval $(call compared,sdxl,$(XL))))
TABLES := sd $(if $(XL),sdxl)
$(OUT)/results.md: $(call when,tables,$(TABLES)) $(foreach t,$(TABLES),$(OUT)/compared/$(t)/compare.json)
	@mkdir -p $(OUT)/words
	($(foreach t,$(TABLES),$(PYTHON) -m socialcli.benchmarks.identity_tables results $(OUT)/compared/$(t) $(OUT)/words &&) true) \
	    > $@.tmp && mv $@.tmp $@
