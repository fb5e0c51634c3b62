"""Parts that every dashboard is made of: variables, panels, scales and the words for outcomes.

State is shape + word + colour. The colours are of Okabe and Ito's palette, safe for colour-blind eyes.
"""

import json
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

with warnings.catch_warnings():  # the classic model, which Grafana reads from files; the library prefers a newer one
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statushistory, timeseries
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import common as common_models
    from grafana_foundation_sdk.models import dashboard as models
    from grafana_foundation_sdk.models.dashboard import Dashboard as Dashboard
    from grafana_foundation_sdk.models.prometheus import PromQueryFormat

Panel = Builder[models.Panel]
SOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")
BLUE, SKY, ORANGE, VERMILLION, GREY = "#0072B2", "#56B4E9", "#E69F00", "#D55E00", "#999999"
OUTCOME_CODES = (
    ("ok", 0, "✓ ปกติ · answers", BLUE),
    ("skipped", 1, "– ไม่ได้ทดสอบ · not tested", GREY),
    ("error", 2, "? วัดไม่ได้ · could not measure", ORANGE),
    ("failed", 3, "✕ ขัดข้อง · fails", VERMILLION),
)
LINK_CODES = (
    ("up", 0, "✓ ใช้งานได้ · up", BLUE),
    ("collector", 1, "◇ ระบบของเราขัดข้อง · ours, link up", SKY),
    ("unknown", 2, "? ไม่ทราบ · unknown", GREY),
    ("lan", 3, "▲ ขัดข้องภายในอาคาร · LAN down", ORANGE),
    ("link_or_provider", 4, "◆ วงจรหรือโครงข่ายผู้ให้บริการ · link or provider down", VERMILLION),
    ("provider", 5, "■ โครงข่ายผู้ให้บริการขัดข้อง · provider down", VERMILLION),
    ("link", 6, "✕ วงจรขัดข้อง · link down", VERMILLION),
)
Codes = Sequence[tuple[str, int, str, str]]
"""(state, its number, shape and words, colour), by number."""
QUARTER, HALF, WHOLE = 6, 12, 24
"""Widths in Grafana's grid."""


class Words(NamedTuple):
    """What a panel is called and what it means, Thai first."""

    title: str
    meaning: str


class Scale(NamedTuple):
    """A unit of Grafana's and the thresholds in it: (from this value on, colour), the first from the bottom."""

    unit: str
    steps: Sequence[tuple[float | None, str]]
    decimals: int | None = None


COUNT = Scale("short", [(None, BLUE), (1, VERMILLION)], 0)
PLAIN = Scale("short", [(None, BLUE)], 0)
LOSS = Scale("percentunit", [(None, BLUE), (0.01, ORANGE), (0.05, VERMILLION)])
RATIO = Scale("percentunit", [(None, BLUE), (0.8, ORANGE), (0.95, VERMILLION)])
RTT = Scale("s", [(None, BLUE), (0.1, ORANGE), (0.3, VERMILLION)])
JITTER = Scale("s", [(None, BLUE), (0.02, ORANGE), (0.05, VERMILLION)])
WEB = Scale("s", [(None, BLUE), (1, ORANGE), (3, VERMILLION)])
CLOCK = Scale("s", [(None, BLUE), (0.1, ORANGE), (1, VERMILLION)])
LEFT = Scale("s", [(None, VERMILLION), (7 * 86400, ORANGE), (30 * 86400, BLUE)])
SILENCE = Scale("s", [(None, BLUE), (15, ORANGE), (300, VERMILLION)], 0)
RATE = Scale("bps", [(None, BLUE)])
MOS = Scale("short", [(None, VERMILLION), (3.6, ORANGE), (4.0, BLUE)], 2)
"""ITU-T G.107 Annex B: from 4.0 satisfied users, below 3.6 many dissatisfied."""
BYTES = Scale("decbytes", [(None, BLUE)])
SHARE_OK = Scale("percentunit", [(None, VERMILLION), (0.95, ORANGE), (0.99, BLUE)])


def query(expression: str, legend: str = "", ref: str = "A", *, instant: bool = False) -> prometheus.Dataquery:
    """One query of a panel; ``instant`` asks for the end of the range alone."""
    made = prometheus.Dataquery().expr(expression).ref_id(ref).datasource(SOURCE)
    if legend:
        made.legend_format(legend)
    return made.instant().format(PromQueryFormat.TIME_SERIES) if instant else made.range()


def worst_outcome(by: str, selector: str) -> str:
    """PromQL: the worst outcome as its code (:data:`OUTCOME_CODES`), by these labels. Where none of the bad ones is 1,
    what is left is 0, the code of ``ok``."""
    terms = " or ".join(
        f'(max_over_time(phrom_outcome{{outcome="{outcome}",{selector}}}[$__rate_interval]) * {code})'
        for outcome, code, _, _ in OUTCOME_CODES
        if code
    )
    return f"max by ({by}) ({terms})"


def link_state(by: str, selector: str) -> str:
    """PromQL: the state of links as its code (:data:`LINK_CODES`), by these labels; the worst one of the step."""
    terms = " or ".join(
        f'(max_over_time(phrom_state{{probe="link",state="{state}",{selector}}}[$__rate_interval]) * {code})'
        for state, code, _, _ in LINK_CODES
    )
    return f"max by ({by}) ({terms})"


def loss(by: str, selector: str) -> str:
    """PromQL: the share of echoes lost, by these labels."""
    lost, sent = (
        f"sum by ({by}) (sum_over_time(phrom_{name}_packets{{{selector}}}[$__rate_interval]))"
        for name in ("lost", "sent")
    )
    return f"{lost} / {sent}"


def number(words: Words, scale: Scale, expression: str, legend: str = "", span: int = QUARTER) -> Panel:
    """A figure, as of the end of the range."""
    panel = stat.Panel().graph_mode(common_models.BigValueGraphMode.NONE).height(4).span(span)
    panel.color_mode(common_models.BigValueColorMode.VALUE).with_target(query(expression, legend, instant=True))
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _dressed(panel, words, scale)


def bars(words: Words, scale: Scale, expression: str, legend: str, span: int = HALF) -> Panel:
    """A bar for each series, as of the end of the range."""
    panel = bargauge.Panel().orientation(common_models.VizOrientation.HORIZONTAL).height(8).span(span)
    panel.display_mode(common_models.BarGaugeDisplayMode.BASIC).with_target(query(expression, legend, instant=True))
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _dressed(panel, words, scale)


def states(words: Words, expression: str, legend: str, height: int = 10, codes: Codes = OUTCOME_CODES) -> Panel:
    """A row of boxes for each series, in the words for their codes. An empty box is a time that nobody measured."""
    mapping = {
        str(code): models.ValueMappingResult(text=text, color=color, index=code) for _, code, text, color in codes
    }
    panel = statushistory.Panel().mappings([models.ValueMap(options=mapping)]).height(height).span(WHOLE)
    panel.show_value(common_models.VisibilityMode.NEVER).max_data_points(120).with_target(query(expression, legend))
    scale = Scale("short", [(None if code == 0 else code, color) for _, code, _, color in codes])
    return _dressed(panel, words, scale)


def lines(words: Words, scale: Scale, *queries: prometheus.Dataquery, span: int = HALF) -> Panel:
    """Curves over time; a gap stays a gap."""
    panel = timeseries.Panel().height(8).span(span).min(0).span_nulls(False).line_width(1).fill_opacity(0)
    panel.show_points(common_models.VisibilityMode.AUTO)
    panel.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED))
    panel.color_scheme(builders.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    for one in queries:
        panel.with_target(one)
    return _dressed(panel, words, scale)


def source_variable() -> builders.DatasourceVariable:
    """Which Prometheus answers; the same dashboards serve any that speaks PromQL."""
    return builders.DatasourceVariable("datasource").label("แหล่งข้อมูล · Data source").type("prometheus")


def values_of(
    label: str, words: str, selector: str = "", *, several: bool = True, span: str = "$__range"
) -> builders.QueryVariable:
    """A variable with the values of a label. Asked as a query: label values are not served over remote read."""
    expression = f"query_result(group by ({label}) (last_over_time(phrom_outcome{{{selector}}}[{span}])))"
    made = builders.QueryVariable(label).label(words).datasource(SOURCE).regex(f'/{label}="([^"]*)"/')
    made.query({"query": expression, "refId": f"variable-{label}", "qryType": 3}).definition(expression)
    made.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.ALPHABETICAL_ASC)
    if several:
        everything = models.VariableOption(text="All", value="$__all", selected=True)
        made.multi(True).include_all(True).all_value(".*").current(everything)
    return made


def board(uid: str, title: str, description: str, tags: Sequence[str]) -> builders.Dashboard:
    """An empty dashboard that follows the viewer's clock: a province reads it in its own time."""
    made = builders.Dashboard(title).uid(uid).description(description).tags(["phrom", *tags]).timezone("browser")
    made.time("now-6h", "now").refresh("1m").tooltip(models.DashboardCursorSync.CROSSHAIR).readonly()
    return made.with_variable(source_variable())


def as_json(dashboard: Dashboard) -> str:
    """The file that Grafana is given: panels numbered, keys sorted so that differences are small."""
    for number_, panel in enumerate(dashboard.panels or [], start=1):
        if isinstance(panel, models.Panel):
            panel.id_val = number_
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _dressed(panel: Any, words: Words, scale: Scale) -> Panel:
    """What every panel has. The builders of the library share these methods but no type."""
    panel.title(words.title).description(words.meaning).datasource(SOURCE).unit(scale.unit)
    panel.no_value("ไม่มีข้อมูล · no data")
    if scale.decimals is not None:
        panel.decimals(scale.decimals)
    steps = [models.Threshold(value=value, color=color) for value, color in scale.steps]
    panel.thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    made: Panel = panel
    return made
