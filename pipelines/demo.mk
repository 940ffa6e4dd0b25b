# The chain on real photographs, offline: five stages as sidecars, merged, checked, and shown.
#   make -f pipelines/demo.mk            ends with the path of an HTML report
PROFILE ?= offline
OUT ?= demo
WITH ?= pose,gaze
N := 1
.PHONY: demo
demo: $(OUT)/report/index.html
	@echo "report: $(abspath $<)"
include $(dir $(lastword $(MAKEFILE_LIST)))chain.mk

$(OUT)/images/.done:
	$(SOCIALCLI) import samples -o $(OUT)/images
	@touch $@

$(OUT)/report/index.html: $(OUT)/annotated/.done
	$(SOCIALCLI) inspect $(OUT)/annotated --out $(OUT)/report
