"""What the tests of this folder share: a text's launches, as words and as they are written."""

from launcher.commands.launches import Found, Launch, find
from launcher.commands.source import Source


def found(text: str, path: str = "run.sh") -> Found:
    return find(Source(path, text))


def only(text: str, path: str = "run.sh") -> Launch:
    """The one launch of a text in which nothing is wrong."""
    held = found(text, path)
    assert held.troubles == ()
    assert len(held.launches) == 1
    return held.launches[0]


def texts(launch: Launch) -> list[str]:
    """Its words: ``?`` is not known, ``...`` may be several words, what stands in brackets may be absent."""
    shown = [word.text.replace("\0", "?") + "..." * word.many for word in launch.words]
    return [f"[{text}]" if word.perhaps else text for word, text in zip(launch.words, shown, strict=True)]


def written(launch: Launch, text: str) -> list[str]:
    """Its words as they stand in the file."""
    return [text[word.start : word.end] for word in launch.words]


def environment(launch: Launch) -> dict[str, str]:
    return {name: word.text.replace("\0", "?") for name, word in launch.environment}
