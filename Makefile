# The two commands of the README. All they do stands in scripts/bootstrap.py, which also serves make.bat on Windows.
PYTHON ?= python3

.PHONY: bench demo test test-lowest

demo:
	@$(PYTHON) scripts/bootstrap.py demo $(if $(VIDEO),--video "$(VIDEO)")

test:
	@$(PYTHON) scripts/bootstrap.py test

test-lowest:
	@$(PYTHON) scripts/bootstrap.py test-lowest

bench:
	@$(PYTHON) scripts/bootstrap.py bench
