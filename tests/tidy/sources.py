"""The project's own files, read once."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
PRODUCT = ("risk", "execution", "tradingdesk")
_NOT_OURS = {
    ".git",
    ".venv",
    "var",
    "node_modules",
    "__pycache__",
    "vendor",
    ".mypy_cache",
    ".ruff_cache",
    ".hypothesis",
    ".pytest_cache",
}
_TEXT = {".py", ".md", ".toml", ".html", ".css", ".js", ".json", ".lock", ".txt", ".yml", ""}


class Source(NamedTuple):
    path: str
    text: str

    @property
    def package(self) -> str:
        return self.path.split("/", 1)[0]

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.path, self.text)


@functools.cache
def _parsed(path: str, text: str) -> ast.Module:
    return ast.parse(text, path)


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.name in _NOT_OURS:
            continue
        if entry.is_dir():
            yield from _walk(entry)
        elif entry.suffix in _TEXT:
            yield entry


@functools.cache
def texts() -> tuple[Source, ...]:
    """Every text file of the project."""
    return tuple(Source(str(path.relative_to(ROOT)), path.read_text()) for path in _walk(ROOT))


@functools.cache
def pythons(*packages: str) -> tuple[Source, ...]:
    """The Python files of these top folders, without migrations; all of the product when none is named."""
    wanted = packages or PRODUCT
    return tuple(s for s in texts() if s.path.endswith(".py") and s.package in wanted and "/migrations/" not in s.path)
