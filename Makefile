# Thin names over tools/dev.py, which is all that a fresh machine needs.
.PHONY: demo test check lock schema keys golden
demo test check:
	python3 tools/dev.py $@
lock:
	tools/lock
schema keys golden:
	.venv/bin/python tools/generate.py $@
