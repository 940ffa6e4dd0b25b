# A pseudo-word in miniature: one dog of the world's test split, which no miniature was trained on,
# is learnt from four scenes and drawn in others.
#   make -f pipelines/invert-mini.mk        ends with the path of a grid of pictures
PROFILE ?= mini
OUT ?= invert-mini
STEPS ?= 200
SOCIALCLI ?= socialcli
# Flags of the drawing.
DRAW ?=
SCENES := 78 240 406 444
PROMPTS := --prompt "a <pet> in the snow" --prompt "a man petting a <pet> in a room" \
           --prompt "a woman is walking a <pet> in the park" \
           --prompt "a girl is jumping over a <pet> on the beach"
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk
.PHONY: invert-mini
invert-mini: $(OUT)/drawn/.done
	@echo "pictures: $(abspath $(OUT)/drawn.png)"

$(OUT)/scenes/%.tar:
	$(SOCIALCLI) import world test --first $* --scenes 1 -o $@

$(OUT)/word/learned_embeds.safetensors: $(SCENES:%=$(OUT)/scenes/%.tar)
	$(SOCIALCLI) invert $(OUT)/scenes --profile $(PROFILE) -o $(OUT)/word --by none --token '<pet>' \
	  --initial-word dog --templates captions --steps $(STEPS) --learning-rate 5e-3

$(OUT)/drawn/.done: $(OUT)/word/learned_embeds.safetensors
	$(SOCIALCLI) generate --method textual-inversion --profile $(PROFILE) --embedding $(OUT)/word \
	  $(PROMPTS) --per-prompt 2 $(DRAW) -o $(OUT)/drawn --grid $(OUT)/drawn.png
	@touch $@
