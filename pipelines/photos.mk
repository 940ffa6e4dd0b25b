# Photographs of one's own, a folder of them: the chain, checked and shown.
#   make -f pipelines/photos.mk -j2 PHOTOS=~/pictures         ends with the path of an HTML report
# Captions lie beside the pictures (KEY.txt, or KEY.caption); with PROFILE=sd15 BLIP-2 writes them and
# the whole of the paper's models looks at them. HEIC takes the extra `heic`.
PHOTOS ?= photos
PROFILE ?= offline
OUT ?= shards/photos
WITH ?= pose,gaze
N ?= 2
.PHONY: photos
photos: $(OUT)/report/index.html
	@echo "report: $(abspath $<)"
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import folder $(PHOTOS) -o $(OUT)/images --max-error-rate 0.5
	@touch $@

$(OUT)/report/index.html: $(OUT)/annotated/.done
	$(SOCIALCLI) inspect $(OUT)/annotated --out $(OUT)/report
