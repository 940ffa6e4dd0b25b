# How the words of each row of Inverted Interaction's Table 1 and Figure 8 are learned; included by
# table-001.mk and table-001-mini.mk. OURS is the paper's method with what its table gives it, OUT the
# folder of the run.
TEXTS = --templates $(OUT)/templates.txt
# Textual inversion on the same descriptions: one word, no prior, no pose words.
learn_textual-inversion = --method interaction --stages relation-only --vectors 1 --prior none
learn_p-plus = --method p-plus --initial-word with $(TEXTS)
learn_reversion = --method reversion --initial-word and $(TEXTS)
learn_interaction = $(OURS)
learn_no-prior = $(OURS) --prior none
learn_no-poses = $(OURS) --stages relation-only
learn_no-attention = $(OURS) --weight-attention 0
