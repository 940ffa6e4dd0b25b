# The chain on real photographs, offline: five stages as sidecars, merged, checked, and shown.
#   make -f pipelines/photographs.mk     ends with the path of an HTML report
PROFILE ?= offline
OUT ?= photographs
WITH ?= pose,gaze
N := 1
.PHONY: photographs
photographs: $(OUT)/report/index.html
	@echo "report: $(abspath $<)"
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import samples -o $(OUT)/images
	@touch $@

$(OUT)/report/index.html: $(OUT)/annotated/.done
	$(SOCIALCLI) inspect $(OUT)/annotated --out $(OUT)/report
