"""A report as a page of its own: plots and table in one file that asks nothing of the network."""

import html
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from streams.cli.failure import Failure
from streams.cli.report import Answer, figure, iso, notes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS: Final = 8
_COLOURS: Final = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bb8844", "#999999")
_GREY: Final = "#808080"  # read on white and on black alike
_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; }
p.about { color: GrayText; margin-top: .25rem; }
figure { margin: 1.5rem 0; } figure svg { width: 100%; height: auto; }
figcaption { font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; }
tr { border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
th.n, td.n { text-align: right; } tfoot td { font-weight: 600; }
@media print { body { margin: 0; max-width: none; } }
"""


def page(answer: Answer, tenant: str | None, now: datetime) -> str:
    """The page as HTML. Raises Failure where matplotlib isn't installed."""
    title = f"{answer.report.name.capitalize()} by {', '.join(answer.by)}"
    about = f"{answer.report.about}. {iso(answer.period.since)} to {iso(answer.period.until)}"
    about += f", tenant {tenant}" if tenant is not None else ""
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="about">{html.escape(about)}. Made {now.strftime("%Y-%m-%d %H:%M UTC")}.</p>',
        *(_figures(answer) if answer.rows else ["<p>There is nothing in this time.</p>"]),
        _rows(answer),
        *(f"<p>{html.escape(text)}.</p>" for text in notes(answer)),
    ]
    head = [
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    lines = ["<!doctype html>", '<html lang="en"><head>', *head, "</head><body>", *parts, "</body></html>", ""]
    return "\n".join(lines)


def _rows(answer: Answer) -> str:
    measures = answer.report.measures
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in answer.by)
    heads += "".join(f'<th class="n">{html.escape(m.name)}</th>' for m in measures)
    lines = []
    for row in answer.rows:
        groups = "".join(f"<td>{html.escape(value)}</td>" for value in answer.group(row))
        figures = "".join(f'<td class="n">{figure(m, row[m.name])}</td>' for m in measures)
        lines.append(f"<tr>{groups}{figures}</tr>")
    total = "".join(f'<td class="n">{figure(m, answer.totals[m.name])}</td>' for m in measures)
    foot = f'<tfoot><tr><td colspan="{len(answer.by)}">total</td>{total}</tr></tfoot>'
    body = f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody>{foot}"
    return f'<div class="wide"><table>{body}</table></div>'


def _figures(answer: Answer) -> list[str]:
    headline = answer.report.measure(answer.report.headline)
    unit = headline.unit
    over_time = _plot(lambda axes: _lines(axes, answer), f"{headline.name} ({unit})")
    largest = _plot(
        lambda axes: _bars(axes, answer), f"{headline.name} ({unit})", height=0.45 * _shown(answer) + 1
    )
    name = html.escape(headline.name)
    return [
        f"<figure><figcaption>{name} over time (UTC)</figcaption>{over_time}</figure>",
        f"<figure><figcaption>{name} in the whole time, the largest first</figcaption>{largest}</figure>",
    ]


def _shown(answer: Answer) -> int:
    return min(len(answer.rows), 2 * _GROUPS)


def _largest(answer: Answer, most: int) -> list[dict[str, Any]]:
    rows = [r for r in answer.rows if r[answer.report.headline] is not None]
    return sorted(rows, key=lambda r: -float(r[answer.report.headline]))[:most]


def _lines(axes: "Axes", answer: Answer) -> None:
    begins = [
        datetime.fromtimestamp(answer.period.since / 1000 + n * answer.period.step_s, UTC)
        for n in range(max(map(len, answer.series.values()), default=0))
    ]
    for row, colour in zip(_largest(answer, _GROUPS), _COLOURS, strict=False):
        values = answer.series.get(answer.group(row), [])
        known: Sequence[float] = [float("nan") if v is None else v for v in values]
        label = " · ".join(answer.group(row))
        axes.plot(begins[: len(known)], known, color=colour, label=label, marker="o", markersize=3)  # type: ignore[arg-type]
    axes.set_ylim(bottom=0)
    if axes.lines:
        axes.legend(frameon=False, labelcolor=_GREY, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))


def _bars(axes: "Axes", answer: Answer) -> None:
    rows = _largest(answer, _shown(answer))[::-1]
    names = [" · ".join(answer.group(row)) for row in rows]
    axes.barh(range(len(rows)), [float(r[answer.report.headline]) for r in rows], color=_COLOURS[0])
    axes.set_yticks(range(len(rows)), names)


def _plot(draw: Any, label: str, height: float = 3.2) -> str:
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise Failure("plots need matplotlib", "pip install 'sluice-llm[analysis]', or use --csv") from error
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "sluice", "font.family": "sans-serif"}):
        drawing = Figure(figsize=(11, height), layout="constrained")
        axes = drawing.add_subplot()
        draw(axes)
        axes.set_title(label, color=_GREY, fontsize=9, loc="left")
        axes.tick_params(colors=_GREY, labelsize=9)
        axes.grid(axis="both", color=_GREY, alpha=0.2)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_GREY)
        written = io.StringIO()
        drawing.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    return text[text.index("<svg") :]
