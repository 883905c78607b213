# make help lists the targets.
BUILD ?= build
PREFIX ?= /usr/local

.DEFAULT_GOAL := build

$(BUILD)/build.ninja:
	meson setup $(BUILD) --werror

build: $(BUILD)/build.ninja ## compile into build/
	@ninja -C $(BUILD)

.PHONY: build
