"""The words of a shell, compared with those that bash itself makes."""

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.commands import launches
from tests.commands.finding import found, only, texts, written

FUNCTION = 'vllm() { printf "%s\\0" "$@" >&9; printf "\\n\\0" >&9; }\n'
SETUP = 'X="foo bar"\nA=(1 "2 3")\n'


def bash(script: str, folder: Path) -> list[list[str]]:
    """What `vllm` is given each time that bash runs it in a script."""
    out = folder / "words"
    command = ["bash", "--norc", "-c", f"exec 9>{shlex.quote(str(out))}\n{FUNCTION}{script}"]
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    subprocess.run(command, check=False, capture_output=True, cwd=folder, env=environment, timeout=30)
    words = out.read_bytes().decode().split("\0")[:-1]
    calls: list[list[str]] = [[]]
    for word in words:
        if word == "\n":
            calls.append([])
        else:
            calls[-1].append(word)
    return calls[:-1]


QUOTINGS = [
    'plain \'single\' "double" a\\ b \\"',
    "'a'\"b\"c\\d e''f",
    "'' \"\" $''",
    "'it'\\''s' \"it's\" $'it\\'s'",
    '"a\\"b\\\\c\\$d\\`e\\f" \'a\\b\'',
    "$'a\\tb\\n\\x41\\101\\u00e9\\e\\q\\cA'",
    '$"translated"',
    "one\\\ntwo three \\\n  four",
    "\"one\\\ntwo\" 'one\\\ntwo'",
    '--json \'{"a": [1, 2]}\' --json={\\"a\\":1} {} {a} a{b}c',
    "a#b #c d",
    "a=b --c=d =e",
    "~user a~b",
    "é 日本 \u00a0x",
    '$X "$X" ${X} "a$X" \'a$X\' \\$X a\\$X',
    '"${A[@]}" ${A[@]} ${A[*]} "${X:-d}" ${Y:-d e} "${Y:-d e}" ${Y-} ${X:+p q} "${X:+p q}"',
    "${Y:=z} ${Z:-\"a b\"} ${Z:-'a'}",
    "[a] a[1] @ % ^ , : . .. - -- ! !a a! $ a$ $. + /",
    "\tx\t\ty\t",
    "> /dev/null a 2>&1 b < /dev/null c >>/dev/null d 2>/dev/null e",
    "<<< text a",
    "a <<E b\nhere $X\nE",
    "a <<-'E' b\n\there\n\tE\n",
    "a; vllm serve b && vllm serve c || vllm serve d | cat",
    "a & wait\nvllm serve b",
    "if then done esac in do } {",
    "a=(b) c",
    "1>/dev/null a1>/dev/null 1",
]


@pytest.mark.parametrize("line", QUOTINGS)
def test_words_are_those_of_bash(line: str, tmp_path: Path) -> None:
    script = f"{SETUP}vllm serve {line}\n"
    held = found(script)
    got = bash(script, tmp_path)
    if not got:
        assert held.troubles  # bash refuses it, and so do we
        return
    assert held.troubles == ()
    ran = [
        call for call in ([word.text for word in launch.words] for launch in held.launches) if ["serve", *call] in got
    ]
    assert [["serve", *call] for call in ran] == got
    assert {len(held.launches) - len(ran)} <= {0, 1}  # what stands after || does not run


BODIES = [
    "if true; then vllm serve a; elif false; then :; else vllm serve b; fi",
    "for i in 1 2; do vllm serve a; done",
    "for i\ndo vllm serve a; done",
    "for ((i=0; i<1; i++)); do vllm serve a; done; (( i << 2 )); echo $(( 1 << 2 )) $((1))",
    "while vllm serve a; do break; done",
    "until vllm serve a\ndo :\ndone",
    "case x in (y|z) vllm serve no;; x) vllm serve a ;; esac",
    "case x in if) ;; esac; vllm serve a",
    "f() { vllm serve a; }; f",
    "function f { vllm serve a; }; f",
    "function f() (vllm serve a); f",
    "{ vllm serve a; } | cat; ( vllm serve b )",
    'x=$(vllm serve a; case b in b) echo ")";; esac); echo "$(vllm serve b ")")"',
    "x=`vllm serve a`; cat <(vllm serve b)",
    '[[ "a" =~ ^(a|b)$ && ! x < y ]] && vllm serve a',
    "! vllm serve a; time vllm serve b; time -p vllm serve c",
    "[ a ] && vllm serve a # vllm serve no\n# vllm serve no\nvllm serve b",
    "cat <<E >/dev/null; vllm serve a\nvllm's text \" \\` \\$(\nE\nvllm serve b",
    "cat <<'E' <<F >/dev/null\nE\nF\nvllm serve a",
    "A=b C='d e' vllm serve a; A=(b c) ; vllm serve b",
    "((1)); vllm serve a; ( (vllm serve b) )",
    "echo ${X#*(} ${X//\\}/x} \"${X%'}'*}\" ${#X}; vllm serve a",
]


@pytest.mark.parametrize("body", BODIES)
def test_commands_are_found_in_every_construct(body: str, tmp_path: Path) -> None:
    script = SETUP + body + "\n"
    ran = {tuple(call) for call in bash(script, tmp_path)}
    held = found(script)
    assert held.troubles == ()
    ours = {("serve", *(word.text for word in launch.words)) for launch in held.launches}
    assert ran <= ours
    assert not any("no" in call for call in ran)
    assert {call for call in ours if "no" in call} == ({("serve", "no")} if "case x in (y|z)" in body else set())


BROKEN = [
    "'",
    '"',
    "$(",
    "${",
    "`",
    "$'",
    "A=(",
    "(",
    "{ a",
    "if a",
    "while a; do",
    "case a in",
    ")",
    "}",
    "fi",
    "done",
    "[[ a",
]
BROKEN += ["<(", "a &&", "| a", "; ;", "a >", "a(b)", "$((", "<<E\n", "a ||"]


@pytest.mark.parametrize("end", BROKEN)
def test_what_bash_cannot_read_has_a_place_and_a_reason(end: str) -> None:
    text = f"vllm serve first\n  {end}\n"
    assert subprocess.run(["bash", "-n", "-c", text], capture_output=True, check=False).returncode or "<<" in end
    held = found(text)
    assert held.troubles
    assert all(trouble.what and text[trouble.start : trouble.end].strip() for trouble in held.troubles)
    assert held.troubles[0].start >= text.index("\n")
    assert texts(held.launches[0]) == ["first"]


def test_a_string_that_is_not_closed_does_not_hide_the_rest() -> None:
    text = 'vllm serve a --x "open\nvllm serve b --x "closed"\necho "more"\nvllm serve c\n'
    held = found(text)
    assert [texts(launch) for launch in held.launches] == [["a", "--x", "?..."], ["b", "--x", "closed"], ["c"]]
    assert [(trouble.what, trouble.start) for trouble in held.troubles] == [
        ('the quote " is not closed', text.index('"'))
    ]


PIECES = st.sampled_from([*"ab-=_./:,{}[]\"'\\$`!#&|;<>()*?~ \té%@^", "\n", "--x", "$X", "\\\n", "{a,b}"])
WORDS = st.lists(st.lists(PIECES, max_size=8).map("".join), max_size=6)
FAST = settings(max_examples=200, deadline=None)


@given(WORDS)
@FAST
def test_what_shlex_writes_is_read_back_and_has_its_place(words: list[str]) -> None:
    text = f"  vllm serve {shlex.join(words)} # end\n"
    launch = only(text)
    assert [word.text for word in launch.words] == words
    assert written(launch, text) == [shlex.quote(word) for word in words]


LINE = [*"ab'\"\\{},;&#=*)|\n\u00e9", "$X", "${X}", "$(", "--", "\\\n"]


@given(st.lists(st.sampled_from(LINE), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_line_is_read_as_bash_reads_it(tmp_path: Path, pieces: list[str]) -> None:
    script = f"{SETUP}vllm serve {' '.join(pieces)}\n"
    held = found(script)
    checked = subprocess.run(["bash", "-n", "-c", script], capture_output=True, check=False)
    if held.troubles or checked.returncode:
        assert checked.returncode  # we refuse nothing that bash takes
        return
    ours = [["serve", *(word.text for word in launch.words)] for launch in held.launches if launch.words]
    if all(word.known for launch in held.launches for word in launch.words):
        assert [call for call in bash(script, tmp_path) if len(call) > 1] == ours


def test_a_command_is_read_as_a_script_is() -> None:
    held = launches.command("nohup vllm serve 'a b' --port 1 > log 2>&1 &")
    assert held.kind == "command"
    assert texts(held.launches[0]) == ["a b", "--port", "1"]
