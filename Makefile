# Two commands on a fresh machine. Both install what is missing into .venv first.
PYTHON ?= python3

.PHONY: demo test
demo:
	$(PYTHON) bootstrap.py --extras demo -- sensorium demo

test:
	$(PYTHON) bootstrap.py --extras test -- sh checks.sh
