# The commands of this project; `make` alone lists them. Each one does the steps that it needs before it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export CCACHE_DIR := $(CURDIR)/.ccache
export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

# One compiler job a core, but none without 1.5 GB of memory.
JOBS ?= $(shell awk -v cores="$$(nproc)" '/^MemAvailable/ { jobs = int($$2 / 1500000) } END { print jobs < 1 ? 1 : jobs < cores ? jobs : cores }' /proc/meminfo)
SOURCES = $(shell git ls-files 'vision/*.h' 'vision/*.cc' 'language/*.h' 'language/*.cc' 'retrieval/*.h' 'retrieval/*.cc' 'service/*.h' 'service/*.cc' 'tests/*.h' 'tests/*.cc')

# Where 'make retrieval' and 'make indexing' keep their texts and collections.
SETS ?= build/retrieval_sets

# The Python whose packages the comparisons with reference programs need.
PYTHON ?= python3

FUZZ_SECONDS ?= 600

PRETRAIN_FLAGS ?= --minutes 3

.PHONY: help setup build test answers captions convert tokenizers pretrain finetune seq2seq preferences demo bench indexing retrieval bigload million soak asan cuda fuzz format lint gemma clean

help:  ## Lists these commands
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup:  ## Installs Debian packages, Python wheels and models; does nothing twice
	@setup/install.sh

build: setup  ## Builds build/blazon and the tests
	@cmake --preset release -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset release -j $(JOBS)

test: build  ## Runs every test
	@tests/run.sh build

convert: setup  ## Makes a folder of safetensors out of pickles (.bin, .pt, .pth) or of a GPT-2 that TensorFlow trained: IN=PATH OUT=FOLDER
	@[ -n "$(IN)" ] && [ -n "$(OUT)" ] || { echo "say what to convert, and into which folder: make convert IN=PATH OUT=FOLDER" >&2; exit 2; }
	@/usr/bin/python3 -B setup/convert_checkpoint.py "$(IN)" "$(OUT)"

tokenizers: build  ## Compares 10,000 strings a tokenizer family with the Python package tokenizers (PYTHON=... has it)
	@$(PYTHON) tests/reference/tokenizer_family_goldens.py --strings 10000 --out build/tokenizer_strings
	@BLAZON_TOKENIZER_CASES=build/tokenizer_strings build/tokenizer_family_test --gtest_filter='*GivesTheTokensOfTokenizers*'

demo: build  ## Captions the sample photos and answers questions over the sample documents
	@setup/demo.sh build/blazon

bench: build  ## Measures latency, throughput and memory
	@OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}" build/blazon_bench
	@python3 tests/bench/loading.py start build

indexing: build  ## Compares the speed of indexing with a pipeline of sentence-transformers, faiss-cpu and SQLite (PYTHON=... has them) on the King James text
	@python3 -B tests/bench/indexing.py bible $(SETS)/bible
	@$(PYTHON) -B tests/bench/indexing.py compare build/blazon $(SETS)/bible/begin --least-ratio 3
	@python3 -B tests/bench/indexing.py doc $(SETS)/doc
	@python3 -B tests/bench/indexing.py sizes build/blazon $(SETS)/bible/kjv $(SETS)/doc

retrieval: build  ## Measures searches over manual pages and package descriptions of Debian 12, by nDCG@10 and recall@100 (downloads 30 MB; an hour or so)
	@command -v groff >/dev/null || { echo "groff is missing; install the Debian package of that name." >&2; exit 1; }
	@python3 -B tests/bench/retrieval_sets.py $(SETS)
	@python3 -B tests/bench/retrieval_eval.py build/blazon $(SETS)

bigload: build  ## Measures how 5 GB of random weights load (needs 5 GB of disk and 12 GB of memory)
	@python3 tests/bench/loading.py big build

answers: setup  ## Measures answers on the tuning set, the held-out set and hostile documents (15 minutes); fails below the bars
	@cmake --preset release -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset release -j $(JOBS) --target blazon
	@python3 tests/bench/answers.py build/blazon

captions: setup  ## Measures the default captioner: 500 scenes, held-out stamps, photographs, questions about 1,000 scenes (15 minutes); fails below the bars
	@cmake --preset release -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset release -j $(JOBS) --target captioner_quality_test
	@OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}" BLAZON_VQA_SCENES=1000 build/captioner_quality_test --gtest_brief=1

million: setup  ## Makes 1,000,000 chunks (needs 6 GB of disk and 4 GB of memory) and measures opening and searches
	@cmake --preset release -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset release -j $(JOBS) --target blazon_million
	@OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}" build/blazon_million build/million

soak: build  ## Kills writers 200 times and trainings 150 times, flips 1,000 bits, fills a file system of 10 MB (as root, which may mount one)
	@tests/soak.sh build

build/kjv.txt:
	@command -v bible >/dev/null || { echo "bible is missing; install the Debian package bible-kjv." >&2; exit 1; }
	@mkdir -p build
	@bible -f "gen1:1-rev22:21" > $@.new && mv $@.new $@

pretrain: build build/kjv.txt  ## Trains a GPT on the King James text by PyTorch and by Blazon and compares (needs Debian's bible-kjv; PYTHON=... has torch)
	@$(PYTHON) tests/bench/train_gpt.py build/blazon build/kjv.txt $(PRETRAIN_FLAGS)

finetune: build build/kjv.txt  ## Fine-tunes SmolLM2-135M on the King James text for 150 steps by transformers and by Blazon and compares (PYTHON=... has both)
	@OMP_WAIT_POLICY="$${OMP_WAIT_POLICY:-PASSIVE}" $(PYTHON) tests/bench/finetune.py build/blazon build/kjv.txt $(FINETUNE_FLAGS)

seq2seq: build  ## Trains the encoder-decoder model on dates and numbers for 10 minutes at most; 95 % of the held-out ones must be exact
	@python3 tests/bench/seq2seq_pairs.py build/pairs
	@build/blazon train seq2seq --data build/pairs/train.tsv --eval build/pairs/held_out.tsv --eval-pairs 1000 --out build/pairs/model --overwrite \
	  --minutes 10 --steps 1000000 --stop-at-exact 0.99 | tee build/pairs/score
	@awk '{ for (i = 1; i <= NF; ++i) if ($$i == "of" && $$(i - 1) / $$(i + 1) >= 0.95) good = 1 } END { exit !good }' build/pairs/score || { echo "fewer than 95 % are exact" >&2; exit 1; }

preferences: build  ## Trains by examples, then by scores, preferences and a reward model, with three seeds; scores must add 10 points each time
	@python3 tests/bench/preferences.py build/blazon

asan: setup  ## Builds with AddressSanitizer and UBSan and runs the tests that are not labelled slow
	@cmake --preset dev -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset dev -j $(JOBS)
	@ctest --preset dev

cuda: setup  ## Builds with CUDA into build-cuda and runs what a GPU changes: CUDA_TORCH=FOLDER of a torch wheel with NVIDIA's libraries
	@[ -e "$(CUDA_TORCH)/lib/libtorch_cuda.so" ] || { echo "say where the complete torch wheel is: make cuda CUDA_TORCH=FOLDER/torch; CONTRIBUTING.md says how to get it" >&2; exit 2; }
	@cmake --preset cuda -DBLAZON_TORCH="$(abspath $(CUDA_TORCH))" -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset cuda -j $(JOBS)
	@ctest --test-dir build-cuda --output-on-failure -R 'parity_test|vision_tower_test|joint_embedder_test|embedder_test'

fuzz: setup  ## Fuzzes the document loaders and importers, FUZZ_SECONDS=600 each (needs the Debian packages clang and libclang-rt-14-dev)
	@command -v clang++ >/dev/null || { echo "clang++ is missing; install the Debian packages clang and libclang-rt-14-dev." >&2; exit 1; }
	@cmake --preset fuzz -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset fuzz -j $(JOBS)
	@tests/fuzz/run.sh build-fuzz $(FUZZ_SECONDS)

format:  ## Formats all C++ sources (needs the Debian package clang-format)
	@command -v clang-format >/dev/null || { echo "clang-format is missing; install the Debian package of that name." >&2; exit 1; }
	@clang-format -i $(SOURCES)

lint: setup  ## Checks formatting, scripts and sources (needs clang-format, clang-tidy and shellcheck)
	@for tool in clang-format clang-tidy shellcheck; do \
	  command -v $$tool >/dev/null || { echo "$$tool is missing; install the Debian package of that name." >&2; exit 1; }; done
	@clang-format --dry-run --Werror $(SOURCES)
	@shellcheck $$(git ls-files '*.sh') .ci/run
	@cmake --preset single -DCMAKE_MESSAGE_LOG_LEVEL=WARNING
	@cmake --build --preset single --target blazon_wire
	@clang-tidy --quiet -p build-single $(filter %.cc,$(SOURCES))

gemma: setup  ## Fetches Gemma 3 270M, whose terms must be accepted: ACCEPT_GEMMA_TERMS=yes
	@ACCEPT_GEMMA_TERMS="$(ACCEPT_GEMMA_TERMS)" setup/gemma.sh

clean:  ## Removes what was built; `make setup` and the compiler's cache stay
	@rm -rf build build-dev build-cuda build-single build-fuzz
