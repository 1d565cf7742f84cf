# Everything a newcomer, a developer and CI call. `make help` lists it.
SHELL := /bin/bash
SCRIPTS := deploy/scripts
BIN := build/release/bin
PROGRAMS := chela-server chela-cli chela-bench

.DEFAULT_GOAL := build
.PHONY: help packages build demo serve test format check-format lint clean \
  docker prove-image

help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | \
	  sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

packages: ## Installs the missing Debian or Ubuntu packages
	@$(SCRIPTS)/install-packages.sh build

build/release/build.ninja: | packages
	cmake --preset release

build: packages build/release/build.ninja ## Builds the three programs into build/release/bin (default)
	cmake --build --preset release --target $(PROGRAMS)

demo: build ## Starts the server, streams a text from it, shows figures, stops it
	@$(SCRIPTS)/demo.sh $(BIN)

serve: build ## Runs the server in the foreground; ARGS="--listen ..." for flags
	@exec $(BIN)/chela-server $(ARGS)

test: packages ## Builds everything, runs every C++ and Python test
	@$(SCRIPTS)/test.sh

format: ## Formats the C++ files in place
	@$(SCRIPTS)/cpp-files.sh | xargs clang-format-14 -i

check-format: ## Fails if a C++ file is not formatted
	@$(SCRIPTS)/cpp-files.sh | xargs clang-format-14 --dry-run --Werror

lint: ## Checks the shell scripts and the alert rules
	@$(SCRIPTS)/lint.sh

clean: ## Removes every build folder
	rm -rf build

docker: ## Builds the image chela:latest with docker
	docker build -t chela:latest .

prove-image: ## Builds the image without a Docker engine (as root) and asks it for text
	@$(SCRIPTS)/prove-image.sh
