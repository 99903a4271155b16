"""For every test: signals as a terminal would leave them."""

import signal

# What ``nohup`` ignores, its children ignore, and serve leaves an ignored SIGHUP ignored on purpose.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
