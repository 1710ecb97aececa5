# One verb each; people and CI call the same ones.
#   make run [ARGS='…']   a real Linux arm64 guest, halted, waiting for gdb
#   make test [ARGS='…']  every ring of tests: pure, gdb, lldb, kvm
#   make matrix           the rings on KVM, on one kind of hardware after another
#   make soak [MINUTES=n] random programs, on the fake machine and on KVM, for n minutes (60)
#   make check            ruff, mypy, the layers of imports, the lengths of files
#   make bench [QUICK=1]  what it costs beside QEMU's stub: docs/benchmarks.md
#   make docs             what is generated: docs/packets.md, gdbstub/kvm/cdef.py
# All set-up is done by the way: .venv, Python packages, Debian packages.

BIN := .venv/bin
# What a person needs, and what the tests need besides: program:package.
RUN_NEEDS := qemu-system-aarch64:qemu-system-arm gdb-multiarch:gdb-multiarch \
             ssh:openssh-client cpio:cpio
TEST_NEEDS := $(RUN_NEEDS) aarch64-linux-gnu-gcc:gcc-aarch64-linux-gnu lldb:lldb

.PHONY: run test matrix soak bench check docs format clean
.DELETE_ON_ERROR:

run: .venv/ready-to-run
	@scripts/ensure.sh $(RUN_NEEDS)
	@exec $(BIN)/gdbstub run $(ARGS)

test: .venv/ready-to-develop
	@scripts/ensure.sh $(TEST_NEEDS)
	@exec $(BIN)/python -m pytest $(ARGS)

matrix: .venv/ready-to-develop
	@scripts/ensure.sh $(TEST_NEEDS)
	@exec $(BIN)/python -m tests.matrix $(ARGS)

soak: .venv/ready-to-develop
	@scripts/ensure.sh $(TEST_NEEDS)
	@exec $(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60) $(ARGS)

bench: .venv/ready-to-develop
	@scripts/ensure.sh $(TEST_NEEDS)
	@exec $(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

check: .venv/ready-to-develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@! git ls-files '*.py' | xargs wc -l | awk '$$2 != "total" && $$1 > 400' | grep . || \
	    { echo 'longer than 400 lines: see above'; false; }

docs: .venv/ready-to-develop
	@$(BIN)/python -m tests.packet_page
	@$(BIN)/python -m tests.room_page
	@$(BIN)/python scripts/kvm_cdef.py

format: .venv/ready-to-develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache

.venv/ready-to-run: pyproject.toml
	@scripts/environment.sh lab
	@touch $@

.venv/ready-to-develop: pyproject.toml
	@scripts/environment.sh lab,dev
	@touch $@ .venv/ready-to-run
