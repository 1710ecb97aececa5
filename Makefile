# One verb each; people and CI call the same ones.
#   make run [ARGS='…']   a real Linux arm64 guest, halted, waiting for gdb
#   make test [ARGS='…']  every test: pure, contract, gdb, lldb, kvm
#   make matrix           the tests on KVM, on one kind of hardware after another
#   make soak [MINUTES=n] random programs, on the fake machine and on KVM, for n minutes (60)
#   make load [SHARE=x]   runs of 10,000 rounds, 1,000,000 steps and more, or a share (0.01) of that
#   make fuzz [MINUTES=n] every fuzz target, for n minutes in all (60)
#   make check            ruff, mypy, layers of imports, first words of docstrings, lengths of files
#   make bench [QUICK=1]  measurements beside QEMU's stub: docs/benchmarks.md
#   make docs             the generated pages in docs, then the site: build/site/docs/index.html
#   make changelog        the next version's part of CHANGELOG.md, of the fragments in changelog.d
#   make generate         the generated code: cdef.py in gdbstub/kvm and gdbstub/foreign
# Each verb installs what it needs: .venv, Python packages, Debian packages.

BIN := .venv/bin
# mke2fs is there, and on no path of a user's.
export PATH := $(PATH):/usr/sbin:/sbin
# Programs that a user needs, and those that the tests need besides: program:package.
# The compiler and the C library's headers are for the native core. Debian 12 has no cross compiler
# for a machine's own architecture.
NATIVE := $(shell uname -m)
compiler = $1-linux-gnu-gcc:$(if $(filter $1,$(NATIVE)),gcc,gcc-$(subst _,-,$1)-linux-gnu)
HEADERS = $(shell test -e /usr/aarch64-linux-gnu/include/stdio.h \
    -o -e /usr/include/aarch64-linux-gnu/sys/ioctl.h || \
    echo headers:$(if $(filter aarch64,$(NATIVE)),libc6-dev,libc6-dev-arm64-cross))
RUN_NEEDS = qemu-system-aarch64:qemu-system-arm gdb-multiarch:gdb-multiarch \
            ssh:openssh-client cpio:cpio $(call compiler,aarch64) $(HEADERS)
TEST_NEEDS = $(RUN_NEEDS) lldb:lldb chromium:chromium $(call compiler,x86_64) mke2fs:e2fsprogs

# What a verb needs is installed together with Python, where both are missing.
run: NEEDS = $(RUN_NEEDS)
test matrix soak load: NEEDS = $(TEST_NEEDS)
bench: NEEDS = $(TEST_NEEDS) gdbserver:gdbserver

.PHONY: run test matrix soak load fuzz bench check docs changelog generate format clean
.DELETE_ON_ERROR:

run: .venv/ready-to-run
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/gdbstub run $(ARGS)

test: .venv/ready-to-develop
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/python -m pytest $(ARGS)

matrix: .venv/ready-to-develop
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/python -m tests.matrix $(ARGS)

soak: .venv/ready-to-develop
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) $(ARGS)

load: .venv/ready-to-develop
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/python -m tests.load --share $(or $(SHARE),1) --minutes $(or $(MINUTES),120) $(ARGS)

fuzz: .venv/ready-to-fuzz
	@exec $(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),60) $(ARGS)

bench: .venv/ready-to-develop
	@scripts/ensure.sh $(NEEDS)
	@exec $(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

check: .venv/ready-to-develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/pure/test_prose.py
	@! git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 400' | grep . || \
	    { echo 'longer than 400 lines: see above'; false; }

docs: .venv/ready-to-develop
	@$(BIN)/python -m tests.packet_page
	@$(BIN)/python -m tests.layer_page
	@$(BIN)/python -m tests.state_page
	@$(BIN)/python -m tests.reference_pages
	@$(BIN)/python -m tests.session_page
	@$(BIN)/python -m sphinx -q -W --keep-going --nitpicky --conf-dir docs . build/site
	@echo "build/site/docs/index.html"

changelog: .venv/ready-to-develop
	@$(BIN)/towncrier build --draft --version next 2>/dev/null

generate: .venv/ready-to-develop
	@$(BIN)/python scripts/generate_cdef.py

format: .venv/ready-to-develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build

# On arm64 an installation compiles the native core.
.venv/ready-to-run: pyproject.toml $(wildcard gdbstub/kvm/core/*)
	@scripts/environment.sh lab $(NEEDS)
	@touch $@

.venv/ready-to-develop: pyproject.toml $(wildcard gdbstub/kvm/core/*)
	@scripts/environment.sh lab,sweep,dev $(NEEDS)
	@touch $@ .venv/ready-to-run

.venv/ready-to-fuzz: .venv/ready-to-develop
	@scripts/environment.sh lab,sweep,dev,fuzz
	@touch $@
