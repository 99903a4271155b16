"""For every test: signals as a terminal would leave them."""

import signal

# What ``nohup`` and a shell's background ignore, its children ignore, and serve leaves an ignored SIGHUP ignored.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
