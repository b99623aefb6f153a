"""What a section found: tables and goals; how they are printed and written as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Cell = str | int | float | None
Row = tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """Rows under a title; None is an empty cell."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    is_printed: bool = True
    """Whether people want to read all of it; JSON has it in any case."""

    def __str__(self) -> str:
        """Lay the table out: the first column to the left, the others to the right."""
        texts = [self.columns, *(tuple(_text(cell) for cell in row) for row in self.rows)]
        widths = [max(len(text[i]) for text in texts) for i in range(len(self.columns))]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(text, widths, strict=True))
            ).rstrip()
            for text in texts
        ]
        return "\n".join([f"-- {self.title}", *lines])


@dataclass(frozen=True)
class Goal:
    """A figure and its limit. `measured` is None where a peer or a picture was not here."""

    what: str
    measured: float | None
    limit: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `missed` or `not measured`."""
        if self.measured is None:
            return "not measured"
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        return "met" if met else "missed"


@dataclass
class Section:
    """All that one section found."""

    name: str
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False

    def __str__(self) -> str:
        """Lay out notes, tables and goals."""
        printed = (str(table) for table in self.tables if table.is_printed)
        parts = [f"== {self.name} ({self.seconds:.0f} s)", *self.notes, *printed]
        if self.goals:
            parts.append(str(goal_table([self])))
        return "\n".join(parts) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Give the section as plain objects."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "failed": self.failed,
            "notes": self.notes,
            "tables": [{"title": t.title, "rows": [_row(t, row) for row in t.rows]} for t in self.tables],
            "goals": [
                {
                    "what": g.what,
                    "measured": _plain(g.measured),
                    "limit": g.limit,
                    "at_least": g.at_least,
                    "verdict": g.verdict,
                }
                for g in self.goals
            ],
        }


def _row(table: Table, row: Row) -> dict[str, Cell]:
    return {column: _plain(cell) for column, cell in zip(table.columns, row, strict=True)}


def _plain(cell: Cell) -> Cell:
    """Write what JSON has no number for as a string."""
    return str(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def goal_table(sections: Sequence[Section]) -> Table:
    """Lay the goals of sections out beside what was measured."""
    rows: list[Row] = [
        (s.name, g.what, g.measured, "at least" if g.at_least else "at most", g.limit, g.verdict)
        for s in sections
        for g in s.goals
    ]
    return Table("goals", ("section", "goal", "measured", "", "limit", "verdict"), rows)


def _text(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return str(cell)
