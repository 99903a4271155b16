"""A launch on a terminal: a live line while it starts, no trace of it afterwards."""

from __future__ import annotations

import os
import pty
import re
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.run.conftest import Host

LOG = Path(__file__).parent.parent / "data" / "engine-logs" / "sglang-0.5.17-qwen3-8b-fp8-kv8.log"


def test_the_live_line_shows_the_phase_and_goes(host: Host) -> None:
    terminal, inner = pty.openpty()
    seen = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(terminal, 65536):
                seen.extend(chunk)
        except OSError:  # the other side is closed
            return

    reader = threading.Thread(target=read)
    reader.start()
    environment = {"TERM": "xterm-256color", "FAKE_LOG": str(LOG), "FAKE_START_S": "5"}
    server = host.launch(environment, output=inner, engine="sglang")
    os.close(inner)
    while b"ready: " not in seen:
        assert server.process.poll() is None
        reader.join(0.05)
    server.signal(signal.SIGINT)
    assert server.ends() == 130
    reader.join(30)
    os.close(terminal)
    text = seen.decode()
    assert "\x1b[2m" in text  # the log, dimmed
    assert "warming up" in text
    assert re.search(r"0:00:0[1-9]|0:00:[1-5]\d", text)
    assert "\x1b[2K" in text  # the live line, taken away
    assert "\x1b" not in text.partition("ready: ")[2].partition("\n")[0]
    assert text.rstrip().endswith("serve: SIGINT: stopping SGLang 0.32.0; it has 15 s, which SIGINT (Ctrl-C) ends")
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
