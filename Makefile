# Thin names over tools/dev.py, which is all that a fresh machine needs.
.PHONY: demo test check lock schema golden
demo test check:
	python3 tools/dev.py $@
lock:
	tools/lock
schema golden:
	.venv/bin/python tools/generate.py $@
