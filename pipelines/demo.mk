# All nine subcommands offline, in minutes, on two cores: real photographs through spaCy and
# MediaPipe, rendered scenes through the miniatures and compared with the truth, then fine-tuning
# with feedback on what the stages found, a pseudo-word, pictures from both, and their scores; last
# words of three methods in one sentence, and three named subjects in one layout.
#   make -f pipelines/demo.mk -j2         ends with the path of one HTML report
#   make -f pipelines/demo.mk SCENES=40 STEPS=5 DRAWN=4 WORD_STEPS=20 SHOWN=1      a shorter one
SOCIALCLI ?= socialcli
PROFILE ?= mini
OUT ?= demo
SCENES ?= 200
STEPS ?= 60
BATCH ?= 8
DRAWN ?= 12
WORD_STEPS ?= 100
# Flags of the drawings with both encoders and with the pseudo-word.
DRAW ?=
# Pictures of the words of three methods, and flags of these drawings (handshake-mini.mk).
SHOWN ?= 2
SHOW ?=
HERE := $(dir $(lastword $(MAKEFILE_LIST)))
# The photographs need MediaPipe, which is not built for every Python.
PHOTOGRAPHS ?= $(shell $(SOCIALCLI) models segment | grep -q 'needs mediapipe' || echo yes)
ifeq ($(PHOTOGRAPHS),yes)
photographs := $(OUT)/photographs/report/index.html
link := --link "Photographs through spaCy and MediaPipe=$(photographs)"
endif

free := PHOTOGRAPHS
include $(HERE)made-with.mk
.PHONY: demo
demo: $(OUT)/report/index.html
	$(if $(photographs),,@echo "MediaPipe is not installed: the report has no photographs")
	@echo "report: $(abspath $<)"

$(OUT)/photographs/report/index.html:
	$(MAKE) -f $(HERE)photographs.mk OUT=$(OUT)/photographs PROFILE=offline

# Scenes of the validation split, whose people no miniature has seen; the test split's are drawn.
$(OUT)/world/agreement.json:
	$(MAKE) -f $(HERE)world.mk OUT=$(OUT)/world PROFILE=$(PROFILE) SPLIT=val SCENES=$(SCENES)

# Gazes and interactions are what the stages found: there is no annotation on these shards.
$(OUT)/feedback/.done: $(OUT)/world/agreement.json
	$(SOCIALCLI) train $(OUT)/world/annotated --method feedback --profile $(PROFILE) \
	    --gaze-source any --interaction-source any \
	    --steps $(STEPS) --batch-size $(BATCH) --micro-batch $(BATCH) -o $(OUT)/feedback
	@touch $@

$(OUT)/word/drawn/.done:
	$(MAKE) -f $(HERE)invert-mini.mk OUT=$(OUT)/word PROFILE=$(PROFILE) STEPS=$(WORD_STEPS) \
	    DRAW='$(DRAW)'

$(OUT)/handshake/.done:
	$(MAKE) -f $(HERE)handshake-mini.mk OUT=$(OUT)/handshake PROFILE=$(PROFILE) DRAWN=$(SHOWN) \
	    DRAW='$(SHOW)'
	@touch $@

# The same requests with the encoder as it came and as it was tuned, with an IP-Adapter that is shown
# the same pictures, and with an InteractDiffusion that is told who does what in which boxes: four
# rows of the score table.
$(OUT)/asked/.done:
	$(SOCIALCLI) import world test --scenes $(DRAWN) -o $(OUT)/asked
	@touch $@
COMPARED := given tuned ip-adapter interactdiffusion
method_given := --method ssr
method_tuned := --method ssr --ssr-model $(OUT)/feedback
method_ip-adapter := --method ip-adapter
method_interactdiffusion := --method interactdiffusion
$(OUT)/drawn/tuned/.done: $(OUT)/feedback/.done
$(OUT)/drawn/%/.done: $(OUT)/asked/.done
	$(SOCIALCLI) generate $(OUT)/asked -o $(OUT)/drawn/$* $(method_$*) --profile $(PROFILE) \
	    $(DRAW) --grid $(OUT)/drawn/$*.png
	@touch $@
$(OUT)/scores/%/score.json: $(OUT)/drawn/%/.done
	$(SOCIALCLI) score $(OUT)/drawn/$* --reference $(OUT)/asked --profile $(PROFILE) \
	    --metrics clip-t,clip-i,dino,face,gaze,hoi --title $* -o $(OUT)/scores/$*
.PRECIOUS: $(OUT)/drawn/%/.done $(OUT)/scores/%/score.json

$(OUT)/compared/compare.md: $(COMPARED:%=$(OUT)/scores/%/score.json)
	$(SOCIALCLI) score --compare $(COMPARED:%=$(OUT)/scores/%) -o $(OUT)/compared

$(OUT)/report/index.html: $(photographs) $(OUT)/compared/compare.md $(OUT)/word/drawn/.done \
    $(OUT)/handshake/.done
	$(SOCIALCLI) inspect $(OUT)/world/annotated --out $(OUT)/report \
	    --title "socialcli: a rendered world through the miniatures" \
	    --show "Agreement of the stages with the truth=$(OUT)/world/agreement.md" \
	    --show "Drawn with the SSR-Encoder as it came=$(OUT)/drawn/given.png" \
	    --show "After $(STEPS) steps of feedback=$(OUT)/drawn/tuned.png" \
	    --show "Drawn with an IP-Adapter beside the same pictures=$(OUT)/drawn/ip-adapter.png" \
	    --show "Drawn by InteractDiffusion in the boxes of the same scenes=$(OUT)/drawn/interactdiffusion.png" \
	    --show "Scores of all four=$(OUT)/compared/compare.md" \
	    --show "A pseudo-word learnt from four scenes of one dog=$(OUT)/word/drawn.png" \
	    --show "A woman, a horse and what two people do, three learned words in one sentence=$(OUT)/handshake/sentence.png" \
	    --show "Where each of these words was attended to=$(OUT)/handshake/attention.png" \
	    --show "Three named subjects in the layout of an annotated scene=$(OUT)/handshake/composite.png" \
	    --show "DreamBooth's attempt at the same sentence=$(OUT)/handshake/dreambooth.png" \
	    $(link) \
	    --link "Best and worst pictures=$(OUT)/scores/tuned/index.html"
