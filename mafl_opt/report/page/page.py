"""The page itself: everything laid out, put through the templates, and written as one file."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import write_text
from mafl_opt.core.scenario import Scenario
from mafl_opt.report.classes import (
    CLASS_HEADERS,
    CLASS_WORDS,
    FORM_HEADERS,
    class_rows,
    form_rows,
)
from mafl_opt.report.page.material import Material, Subject, gather
from mafl_opt.report.page.objective import split_bars, split_table
from mafl_opt.report.page.overview import (
    describe_failures,
    gap_charts,
    gap_table,
    plan_table,
)
from mafl_opt.report.page.parts import Row, Table
from mafl_opt.report.page.plan_part import Room, make_part
from mafl_opt.report.page.sources import read_sources
from mafl_opt.report.page.training import replay_table, task_panels
from mafl_opt.report.palette import (
    CURVE_COLOURS,
    CURVE_DASHES,
    MARKERS,
    blend,
    ink_on,
    task_colours,
)
from mafl_opt.report.summary import describe_scenario
from mafl_opt.solvers.base import Progress

__all__ = ["render_page", "write_report"]

#: Dots and gaps, px, of the dashes that `CURVE_DASHES` names.
_DASHES = {"-": "none", "--": "7 4", ":": "2 4"}
#: Outlines of `MARKERS`, around 0, px.
_SHAPES = {
    "o": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0Z",
    "s": "M-3.5-3.5h7v7h-7Z",
    "^": "M0-4.5L4.5 3.5h-9Z",
    "D": "M0-5L5 0L0 5L-5 0Z",
    "v": "M0 4.5L4.5-3.5h-9Z",
    "P": "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3Z",
    "X": "M-4-2L-2-4L0-2L2-4L4-2L2 0L4 2L2 4L0 2L-2 4L-4 2L-2 0Z",
    "<": "M-4.5 0L3.5-4.5v9Z",
    ">": "M4.5 0L-3.5-4.5v9Z",
}
#: White mixed into colours on a dark ground.
_LIGHTER = 0.4


def write_report(
    *sources: str | os.PathLike[str],
    out: str | os.PathLike[str],
    scenario: Scenario | None = None,
    certificate: bool = False,
    classes: bool | None = None,
    progress: Progress | None = None,
) -> Material:
    """Write one self-contained page of HTML about plans of one scenario.

    Parameters
    ----------
    *sources : paths
        Folders as `mafl-opt compare` and `mafl-opt demo` write them, plan files, replay files.
    out : path
        File to write, ``.html``.
    scenario : Scenario, optional
        Without it, ``scenario.json`` of a folder, or the embedded one if the plans name it.
    certificate : bool
        Derive the bounds of large plans from their certificates too, which takes minutes.
    classes : bool, optional
        Whether to classify the constraints; left open, where that takes some seconds.
    progress : callable, optional
        ``progress(message, fraction)``.

    Returns
    -------
    Material
        What the page shows.

    Raises
    ------
    InputError
        When a file cannot be read, there is no plan, or the scenario is not known.
    """
    target = Path(out)
    if target.suffix != ".html":
        raise InputError(str(target), "a name ending in .html", target.suffix)
    found = read_sources(sources, scenario=scenario is None)
    material = gather(
        found,
        found.scenario() if scenario is None else scenario,
        certificate=certificate,
        classes=classes,
        progress=progress,
    )
    write_text(target, render_page(material))
    return material


def render_page(material: Material) -> str:
    """Return the page as HTML text."""
    from mafl_opt import __version__

    scenario, subjects = material.scenario, material.subjects
    room = Room()
    parts = [make_part(scenario, subject, k, room) for k, subject in enumerate(subjects)]
    style, script = _style(scenario, len(material.comparison.trials)), _text("page.js")
    replayed = any(subject.replays for subject in subjects)
    return _environment().get_template("page.html.j2").render(
        version=__version__,
        shapes=[_SHAPES[marker] for marker in MARKERS],
        style=Markup(style),
        style_digest=_digest(style),
        script=Markup(script),
        script_digest=_digest(script),
        material=material,
        scenario=scenario,
        curves=[trial.backend for trial in material.comparison.trials],
        parts=parts,
        best=_best(subjects),
        plans=plan_table(material),
        without_plan=describe_failures(material),
        split=split_bars(scenario, subjects),
        split_table=split_table(scenario, subjects),
        gaps=gap_charts(material.comparison),
        gap_table=gap_table(material.comparison),
        panels=task_panels(scenario, subjects),
        replays=replay_table(scenario, subjects) if replayed else None,
        replay_notes=sorted({n for s in subjects for r in s.replays for n in r.notes}),
        classes=_class_tables(material),
        class_words=CLASS_WORDS,
        described=describe_scenario(scenario),
    )  # fmt: skip


def _best(subjects: Sequence[Subject]) -> int:
    """Return the number of the plan with the lowest objective among those that pass the check."""
    passed = [k for k, subject in enumerate(subjects) if subject.report.ok]
    return min(passed or [0], key=lambda k: subjects[k].report.objective)


def _class_tables(material: Material) -> tuple[Table, ...]:
    if material.classes is None:
        return ()
    return tuple(
        Table(
            caption=caption,
            headers=headers,
            rows=tuple(Row(cells=tuple(cells)) for cells in rows),
            align=align,
        )
        for caption, headers, rows, align in (
            ("Constraint blocks", CLASS_HEADERS, class_rows(material.classes), "llrl"),
            ("In the convex forms", FORM_HEADERS, form_rows(material.classes), "lll"),
        )
    )


def _style(scenario: Scenario, curves: int) -> str:
    """Return the style sheet with the colours of tasks and curves, on light and on dark ground."""
    tasks = task_colours(scenario.num_tasks)
    light = [f".t{j}{{--fill:{c};--ink:{ink_on(c)}}}" for j, c in enumerate(tasks)]
    pale = [blend(colour, "white", _LIGHTER) for colour in tasks]
    dark = [f".t{j}{{--fill:{c};--ink:{ink_on(c)}}}" for j, c in enumerate(pale)]
    for k in range(max(curves, 2)):
        colour = CURVE_COLOURS[k % len(CURVE_COLOURS)]
        dash = _DASHES[CURVE_DASHES[k // len(CURVE_COLOURS) % len(CURVE_DASHES)]]
        light.append(f".c{k}{{--line:{colour};--dash:{dash}}}")
        dark.append(f".c{k}{{--line:{blend(colour, 'white', _LIGHTER)};--dash:{dash}}}")
    only_dark = f"@media screen and (prefers-color-scheme:dark){{{''.join(dark)}}}"
    return _text("page.css") + "".join(light) + only_dark


def _text(name: str) -> str:
    return files("mafl_opt.report.page").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """Return what the page's content security policy calls an inline style or script by."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("mafl_opt.report.page"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
