"""What a script says about its variables, and what only its run would tell."""

import pytest

from tests.commands.finding import environment, found, only, texts, written


@pytest.mark.parametrize(
    ("before", "words", "expected"),
    [
        ("M=a", '"$M" ${M} x$M/y "$M z"', ["a", "a", "xa/y", "a z"]),
        ("M='a b'", '$M "$M" x$M', ["a", "b", "a b", "x?..."]),
        ("M=a; M=b", "$M", ["b"]),
        ("M=a\nN=$M-c\nM=b", '"$N"', ["a-c"]),
        ("", '$M "$M" --x=$M "--x=$M"', ["?...", "?", "--x=?...", "--x=?"]),
        ("", '${M:-a} ${M-b} "${M:-c d}" ${M:=e}', ["a", "b", "c d", "e"]),
        ("M=x", '${M:-a} "${M:?no}" ${M:+b} ${N:+c "$M"}', ["x", "x", "b", "[c]", "[x]"]),
        ("M=abc", "${M%c} ${M:0:1} ${#M} ${M^^} ${!M} ${M/a/b}", ["?..."] * 6),
        ("", '$1 "$1" $@ "$@" $* "$*" ${1:-d}', ["?...", "?", "?...", "?...", "?...", "?", "d"]),
        ("M=$(cat x)", '"$M"', ["?"]),
        ("M=`cat x`", "a`cat`b", ["a?b..."]),
        ("M=$RANDOM-x", '"$M"', ["?-x"]),
        ("read -r M N < x", '"$M" "$N"', ["?", "?"]),
        ("M=a; read M", '"$M"', ["?"]),
        ("M=a; unset M", '"$M"', ["?"]),
        ("M=a; printf -v M b", '"$M"', ["?"]),
        ("M=1; ((M++))", '"$M"', ["?"]),
        ("M=1; let M=2", '"$M"', ["?"]),
        ("for M in a b; do :; done", '"$M"', ["?"]),
        ("if x; then M=a; else M=b; fi", '"$M"', ["?"]),
        ("M=a; if x; then M=b; fi", '"$M"', ["?"]),
        ("M=a; x && M=b", '"$M"', ["?"]),
        ('if [ -z "$M" ]; then M=a; fi', '"$M"', ["a"]),
        ("while x; do M=a; done; M=b", '"$M"', ["?"]),
        ("A=(--x 1 'a b')", '"${A[@]}" "${#A[@]}" "${A[0]}" "x${A[@]}"', ["--x", "1", "a b", "?", "?", "x?..."]),
        ("A=(a); A+=(b 'c d')", '"${A[@]}" ${A[@]} ${A[*]}', ["a", "b", "c d", *(["a", "b", "c", "d"] * 2)]),
        ("A=(a); if x; then A+=(b); fi", '"${A[@]}"', ["a", "[b]"]),
        ("A=(a); x && A+=(b)", '"${A[@]}"', ["a", "[b]"]),
        ("A=(a); while x; do A+=(b $i); done", '"${A[@]}"', ["a", "[b]", "[?...]"]),
        ("A=(a); A[1]=b", '"${A[@]}"', ["?..."]),
        ("A=(\n  --x 1 # why\n  --y\n)", '"${A[@]}"', ["--x", "1", "--y"]),
        ("declare -a A=(a b)", '"${A[@]}"', ["a", "b"]),
        ("E='--x 1'; E=\"$E --y\"; E+=' --z'", "$E", ["--x", "1", "--y", "--z"]),
        ("E='--x'; if x; then E=\"$E --y\"; fi", "$E", ["--x", "?..."]),
        ("export M=a; readonly N=b; declare -x O=c", "$M $N $O", ["a", "b", "c"]),
        ("M=a", "{a,b} {1..3} *.gguf a? --x=* '*' \"{a,b}\" {a} '{\"a\":1,\"b\":2}' {\"a\":1,\"b\":2}",
         ["?...", "?...", "?...", "a?...", "--x=*", "*", "{a,b}", "{a}", '{"a":1,"b":2}', "?..."]),
        ("M=a", '~/x "~"', ["~/x", "~"]),
    ],
)  # fmt: skip
def test_variables_are_followed_as_far_as_the_script_tells(before: str, words: str, expected: list[str]) -> None:
    assert texts(only(f"{before}\nvllm serve {words}\n")) == expected


def test_a_function_sees_what_is_set_before_it() -> None:
    script = 'M=a\nrun() {\n  local A=(--x)\n  A+=(--y)\n  vllm serve $M "${A[@]}" "$@"\n}\nrun --z\n'
    assert texts(only(script)) == ["a", "--x", "--y", "?..."]
    assert texts(only('M=a\nrun() { vllm serve "$M"; }\nM=b\nrun\n')) == ["?"]


def test_a_command_in_a_variable_is_a_launch() -> None:
    script = 'CMD="vllm serve m"\nCMD="$CMD --port 1"\n$CMD --x\n'
    launch = only(script)
    assert texts(launch) == ["m", "--port", "1", "--x"]
    assert written(launch, script) == ["m", "--port", "1", "--x"]
    assert not launch.prefix
    assert texts(only('CMD="vllm serve m --x \'a b\'"\neval "$CMD"\n')) == ["m", "--x", "a b"]
    assert texts(only('CMD="vllm serve m"\nbash -c "$CMD"\n')) == ["m"]


def test_words_of_an_array_have_the_places_of_their_definition() -> None:
    script = 'A=(--x "a b")\nE=\'--y  c\'\nvllm serve m "${A[@]}" $E --z\n'
    assert written(only(script), script) == ["m", "--x", '"a b"', "--y", "c", "--z"]


def test_the_environment_is_what_is_exported_and_what_stands_before() -> None:
    script = "export A=1 B='2 3'\nC=4\nexport C\nD=5\nset -a\nE=6\nset +a\nF=7\nG=8 H=$D env I=9 vllm serve m\n"
    launch = only(script)
    assert environment(launch) == {"A": "1", "B": "2 3", "C": "4", "E": "6", "G": "8", "H": "5", "I": "9"}
    spans = {name: script[word.start : word.end] for name, word in launch.environment}
    assert spans["B"] == "'2 3'"
    assert spans["I"] == "9"


def test_what_a_shell_in_a_string_inherits() -> None:
    assert texts(only("export M=a\nN=b\nbash -c 'vllm serve $M $N'\n")) == ["a", "?..."]
    assert texts(only("M=a bash -c 'vllm serve $M'\n")) == ["a"]


@pytest.mark.parametrize(
    "script",
    ["M=$M\n", "M=$N\nN=$M\n", "A=($A)\nA+=(${A[@]})\n", "M=${M:-$M}\n", 'A="$A$A"\n' * 100, 'A="x$A$A";' * 100],
)
def test_variables_in_themselves_end(script: str) -> None:
    assert len(found(f"{script}vllm serve $M ${{A[@]}}\n").launches) <= 1
