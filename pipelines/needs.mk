# What a table needs: `make -f pipelines/TABLE.mk needs`, and every dry run (`make -n`, --dry-run),
# list models and data sets with licence, size and whether they are here, and the hours of a GPU that
# are to be expected. The includer has set `needs`, the words of socialcli.benchmarks.needs, and its
# first target is `all`, and has made-with.mk. TFLOPS is what the card reaches, in 10^12 operations a second.
TFLOPS ?= 50
.PHONY: needs
needs:
	+@$(PYTHON) -m socialcli.benchmarks.needs --teraflops $(TFLOPS) $(needs)
ifneq ($(dry_run),)
all: needs
endif
