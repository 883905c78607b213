# make help lists the targets. BUILD is where `build` compiles to.
BUILD   ?= build
PREFIX  ?= /usr/local
SEEDS   ?= 1000
FUZZ_SECONDS ?= 30
SOURCES  = $(shell find src tests fuzz bench -name '*.[ch]' 2>/dev/null)

.DEFAULT_GOAL := build

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: ## install what build and tests need (Debian 12; as root or through sudo)
	@tools/setup test

build: $(BUILD)/build.ninja ## compile into build/
	@ninja -C $(BUILD)

run: ## install what is missing, build, serve a directory store with a 1 GiB export demo
	@tools/setup build
	@$(MAKE) --no-print-directory $(BUILD)/build.ninja
	@ninja -C $(BUILD) ashlar
	@exec tools/run $(BUILD)/ashlar

check: ## unit tests, simulator, directory store: under 2 minutes once set up
	@tools/setup check
	@$(MAKE) --no-print-directory build
	@tests/run --quick --build $(BUILD)

test: ## install, build, run everything; ends with `N passed, N failed`
	@tools/setup test
	@$(MAKE) --no-print-directory build build-asan build-faults
	@tests/run --build $(BUILD)

sim: build ## run the simulator: SEEDS=N of them, or one SEED=n
	@$(BUILD)/tests/sim/sim $(if $(SEED),--seed $(SEED),--seeds $(SEEDS))

fuzz: build-fuzz/build.ninja ## run the parsers under libFuzzer for FUZZ_SECONDS each
	@ninja -C build-fuzz
	@tests/run --fuzz $(FUZZ_SECONDS)

bench: ## measure beside other servers: a table, plots; QUICK=1 takes 3 minutes, ONLY=words some rows
	@tools/setup bench
	@$(MAKE) --no-print-directory build
	@bench/run $(if $(QUICK),--quick) $(if $(ONLY),--only '$(ONLY)')

fmt: ## format the C files
	@clang-format -i $(SOURCES)

tidy: build-asan/build.ninja ## clang-tidy, clang-format and the house rules
	@ninja -C build-asan
	@tests/run tidy

install: ## install under PREFIX (and DESTDIR)
	@tools/setup build
	@meson setup build-install --buildtype=release -Dtests=false --prefix=$(PREFIX) \
		$(if $(wildcard build-install/build.ninja),--reconfigure) >/dev/null
	@meson install -C build-install

clean: ## remove what was built
	@rm -rf build build-asan build-faults build-fuzz build-install

build-asan: build-asan/build.ninja # with clang, address and undefined sanitizers
	@ninja -C build-asan
build-faults: build-faults/build.ninja # can be told to crash at a mark
	@ninja -C build-faults

$(BUILD)/build.ninja:
	@tools/setup build
	@meson setup $(BUILD) --werror
build-asan/build.ninja:
	@CC=clang meson setup build-asan --werror -Db_sanitize=address,undefined -Db_lundef=false -Dfaults=true
build-faults/build.ninja:
	@meson setup build-faults --werror -Dfaults=true
build-fuzz/build.ninja:
	@CC=clang meson setup build-fuzz --werror -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false

.PHONY: help setup build run check test sim fuzz bench fmt tidy install clean build-asan build-faults
