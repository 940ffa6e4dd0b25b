# Rare words of CLIP, one for each subject of a run of DreamBooth; included by the tables that have one.
IDENTIFIERS := sks ktn pll ucd zwx olis mth vbr qel hta wjd fnq ybo xud gpl irk nzv ewq jyt ohm
# $(call identifiers,N)   the flags of the first N
identifiers = $(addprefix --identifier ,$(wordlist 1,$(1),$(IDENTIFIERS)))
