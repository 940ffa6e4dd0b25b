# The tutorial of docs/handshake.md in miniature: a word for a horse from five pictures with masks, for
# a woman from one picture, and for what two people do from eight, each by a method of its own, drawn
# by one command in one sentence. Then three subjects in a layout taken from an annotated scene, and
# DreamBooth's attempt at the same sentence.
#   make -f pipelines/handshake-mini.mk            some four minutes of one core
# The steps are as few as show what each method does; more of them keep a subject better.
# Nobody and nothing that is learned has been seen by any miniature (the world's test split).
SOCIALCLI ?= socialcli
PROFILE ?= mini
OUT ?= handshake-mini
# Steps of the subject, the person, both stages of the interaction, three words, and DreamBooth.
HORSE_STEPS ?= 25
PERSON_STEPS ?= 80
RIDE_STEPS ?= 16
THREE_STEPS ?= 50
DREAM_STEPS ?= 40
# Flags of every training; how pictures for pose words, and of DreamBooth's classes, are drawn.
FIT ?=
POSES ?= --variants 1 --sampling-steps 12
PRIOR ?= --class-count 3 --class-steps 15
# Pictures of each, and flags of every drawing.
DRAWN ?= 2
DRAW ?=
# The scene whose layout is taken: a man, a dog and a woman, apart from each other.
SCENE ?= 2854
SENTENCE := a <anna> <ride-1> <ride> a <star> <ride-2> in the snow
ATTEMPT := in the desert, a sks man walking a pll dog and a ktn woman is standing nearby

.PHONY: handshake-mini
handshake-mini: $(OUT)/sentence.png $(OUT)/composite.png $(OUT)/dreambooth.png
	@echo "pictures: $(foreach f,$^,$(abspath $(f)))"
include $(dir $(lastword $(MAKEFILE_LIST)))made-with.mk

STAR := $(OUT)/star/words.safetensors
ANNA := $(OUT)/anna/words.safetensors
RIDE := $(OUT)/ride/learned_embeds.safetensors
THREE := $(OUT)/three/learned_embeds.safetensors
DREAM := $(OUT)/dreambooth/pytorch_lora_weights.safetensors

$(OUT)/pictures/%/.done:
	$(SOCIALCLI) import world $(firstword $(subst +, ,$*)) --scenes $(lastword $(subst +, ,$*)) -o $(@D) && touch $@
invert = $(SOCIALCLI) invert $(<D) -o $(@D) --profile $(PROFILE) $(FIT)
$(STAR): $(OUT)/pictures/subjects-train+75/.done
	$(invert) --method attractor --over neti --concept '<star>=horse-0180/*' --contrast one \
	    --learning-rate 1e-2 --steps $(HORSE_STEPS) --batch-size 3 --micro-batch 3
# What the miniature can be told of a person alone.
$(OUT)/templates.txt:
	@mkdir -p $(OUT)
	printf '%s\n' 'a {} standing' 'a {}' 'there is a {}' 'a {} in the park' 'a {} on the beach' > $@
$(ANNA): $(OUT)/pictures/identities+12/.done $(OUT)/templates.txt
	$(invert) --method identity --concept '<anna>=person-01190/*' --category woman --smallest 0.6 \
	    --templates $(OUT)/templates.txt --learning-rate 2.5e-3 --steps $(PERSON_STEPS)
$(RIDE): $(OUT)/pictures/interactions+120/.done
	$(invert) --method interaction --concept '<ride>=ride-on-the-back-of/*' --learning-rate 1e-2 \
	    --steps $(RIDE_STEPS) --micro-batch 4 $(POSES)
$(THREE): $(OUT)/pictures/eleven+55/.done
	$(invert) --concept '<ada>=woman-04060/*' --concept '<bob>=man-00780/*' \
	    --concept '<rex>=dog-0230/*' --vectors 2 --templates captions --learning-rate 1e-2 \
	    --steps $(THREE_STEPS) --batch-size 6 --micro-batch 6
$(DREAM): $(OUT)/pictures/eleven+55/.done
	$(SOCIALCLI) train $(<D) -o $(@D) --profile $(PROFILE) --method dreambooth --adapter lora \
	    --rank 8 --subject man-00780 --identifier man-00780=sks --subject woman-04060 \
	    --identifier woman-04060=ktn --subject dog-0230 --identifier dog-0230=pll --augment 0.5 \
	    $(PRIOR) --learning-rate 2e-3 --steps $(DREAM_STEPS) --batch-size 3 --micro-batch 3 $(FIT)

draw = $(SOCIALCLI) generate --profile $(PROFILE) --per-prompt $(DRAWN) --steps 30 $(DRAW)
$(OUT)/sentence.png: $(STAR) $(ANNA) $(RIDE)
	$(draw) --words $(OUT)/star --words $(OUT)/anna --words $(OUT)/ride \
	    --prompt '$(SENTENCE)' --attention-maps $(OUT)/attention.png --grid $@ -o $(OUT)/sentence

$(OUT)/scene/.done:
	$(SOCIALCLI) import world test --first $(SCENE) --scenes 1 -o $(OUT)/scene && touch $@
$(OUT)/layout/.done: $(OUT)/scene/.done
	$(SOCIALCLI) layout $(OUT)/scene --called 'man=a <bob>' --called 'dog=a <rex>' \
	    --called 'woman=a <ada>' -o $(OUT)/layout && touch $@
$(OUT)/composite.png: $(OUT)/layout/.done $(THREE)
	$(draw) $(OUT)/layout --method composite --words $(THREE) --grid $@ -o $(OUT)/composite
$(OUT)/dreambooth.png: $(DREAM)
	$(draw) --prompt '$(ATTEMPT)' --lora $(DREAM) --guidance 7.5 --grid $@ -o $(OUT)/attempt
