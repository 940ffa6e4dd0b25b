# What OUT was made with. A file that is there is not made again, so a run with other values in the same
# OUT would show old pictures under new names. The includer, whose variables are set above this line:
#   free   names of variables that choose rows or only measure; every other one that it sets with ?= is
#          written to $(OUT)/.made-with by the first run, and a run with another value is refused.
#   $(call when,NAME,VALUE)   among a target's prerequisites: the target is made again once VALUE is another
#          one than at the last run.
#   $(call anew,NAME,VALUE)   the first line of a recipe that makes FOLDER/.done: a FOLDER that was made with
#          another VALUE, where every command refuses to go on, is moved to $(OUT)/earlier.
# A dry run (`make -n`) and `needs` write nothing.
dry_run := $(findstring n,$(firstword -$(MAKEFLAGS)))
made_with_dry := $(or $(dry_run),$(filter needs models,$(MAKECMDGOALS)))
made_with_quoted = '$(subst ','\'',$(strip $(1)))'
made_with_names := $(sort $(filter-out SOCIALCLI PYTHON OUT TFLOPS $(free), \
    $(shell sed -n 's/^\([A-Za-z][^ #]*\) ?=.*/\1/p' $(MAKEFILE_LIST))))
ifneq ($(wildcard $(OUT)/.made-with),)
# What an earlier version made, which did not have a variable yet, has its default. Who gives it has to give
# just that: what the lines with ?= say, under their conditions.
define made_with_newline


endef
made_with_noted := $(shell sed 's/=.*//' $(OUT)/.made-with)
made_with_new := $(filter-out $(made_with_noted),$(made_with_names))
made_with_given := $(foreach name,$(made_with_new),$(if $(filter-out file,$(origin $(name))),$(name)))
ifneq ($(made_with_given),)
$(eval $(subst @@,$(made_with_newline),$(shell sed -n -e ':a' -e '/\\$$/{N;s/\\\n/ /;ba' -e '}' \
    -e 's/^\([A-Za-z][^ #]*\) ?=.*/made_with_usual_&@@/p' -e 's/^ifn*[ed].*/&@@/p' -e 's/^else.*/&@@/p' \
    -e 's/^endif.*/&@@/p' \
    $(filter-out %made-with.mk,$(MAKEFILE_LIST)))))
endif
made_with_same = $(and $(findstring |$(1)|,|$(2)|),$(findstring |$(2)|,|$(1)|))
made_with_other := $(foreach name,$(made_with_given), \
    $(if $(call made_with_same,$(strip $($(name))),$(strip $(made_with_usual_$(name)))),,$(name)))
made_with_names := $(filter $(made_with_noted) $(made_with_other),$(made_with_names))
endif
made_with := $(foreach name,$(made_with_names),$(call made_with_quoted,$(name)=$($(name))))
ifneq ($(wildcard $(OUT)/.made-with),)
made_with_now := $(shell printf '%s\n' $(made_with) | grep -vxFf $(OUT)/.made-with)
made_with_then = $(shell printf '%s\n' $(made_with) | grep -vxFf - $(OUT)/.made-with \
    | sed -n $(made_with_names:%=-e 's/^%=/&/p'))
$(if $(made_with_now),$(error $(OUT) was made with $(or $(made_with_then),its default), not with $(made_with_now): \
    take another OUT; or rm $(OUT)/.made-with if what is there may stay as it is))
else ifeq ($(made_with_dry),)
$(shell mkdir -p $(OUT) && printf '%s\n' $(made_with) > $(OUT)/.made-with)
endif
when_file = $(OUT)/.when/$(1)
when_other = $(shell [ "$$(cat $(when_file) 2>/dev/null)" = $(call made_with_quoted,$(2)) ] || echo yes)
when_remember = $(shell mkdir -p $(OUT)/.when && printf '%s\n' $(call made_with_quoted,$(2)) > $(when_file))
when = $(if $(when_other),$(if $(made_with_dry),$(eval .PHONY: $(when_file)),$(when_remember)))$(when_file)
anew_was = $(when_file)-of-$(subst /,-,$(@D:$(OUT)/%=%))
anew = @now=$(call made_with_quoted,$(2)); was=$(anew_was); old=$(OUT)/earlier/$(subst /,-,$(@D:$(OUT)/%=%)); n=1; \
    if [ -e $(@D) ] && [ -e "$$was" ] && [ "$$(cat "$$was")" != "$$now" ]; then \
        while [ -e "$$old-$$n" ]; do n=$$((n + 1)); done; mkdir -p $(OUT)/earlier && mv $(@D) "$$old-$$n" && \
        echo "$(@D) was made with $$(cat "$$was"): it is $$old-$$n now"; \
    fi; [ -e $(@D) ] || printf '%s\n' "$$now" > "$$was"
$(OUT)/.when/%: ;
