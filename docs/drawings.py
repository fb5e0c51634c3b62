"""``python -m docs.drawings`` draws the guide's pictures, the same in each language; ``--check`` says which differ."""

import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent / "pictures"
BLUE, VERMILLION, GREY, INK, PAPER = "#0072B2", "#D55E00", "#6b6b6b", "#1a1a1a", "#ffffff"
"""Of Okabe and Ito's palette, as everywhere."""


class Words(NamedTuple):
    """What stands in the picture of where a responder can stand."""

    district: str
    line: str
    provider: str
    core: str
    core_line: str
    core_verdict: str
    hall: str
    hall_line: str
    hall_down: str
    hall_up: str
    hall_verdict: str
    download: str
    upload: str


WORDS = {
    "th": Words(
        "อำเภอ",
        "สัญญา 200/80",
        "โครงข่ายผู้ให้บริการ",
        "ก. จุดทดสอบที่ศูนย์ของผู้ให้บริการ",
        "1,000/1,000",
        "✓ พิสูจน์ได้ทั้ง 200 และ 80",
        "ข. จุดทดสอบที่ศาลากลาง",
        "วงจรของศาลากลาง 200/80",
        "✕ ส่งให้อำเภอได้เพียง 80",
        "✓ รับจากอำเภอได้ 80",
        "ดาวน์โหลดยังสรุปไม่ได้",
        "ดาวน์โหลด",
        "อัปโหลด",
    ),
    "en": Words(
        "District",
        "contract 200/80",
        "The provider's network",
        "A. Responder at the provider's core",
        "1,000/1,000",
        "✓ proves both 200 and 80",
        "B. Responder in the hall",
        "the hall's own line, 200/80",
        "✕ can send a district only 80",
        "✓ takes in a district's 80",
        "download stays inconclusive",
        "download",
        "upload",
    ),
}


def responder_place(words: Words) -> str:
    """A district, the provider's network, and the two places of a responder with what each can prove."""
    return _svg(
        970,
        430,
        [
            _cloud(330, 60, 220, 320, words.provider),
            _box(20, 185, 150, 70, words.district, words.line),
            _box(640, 40, 310, 66, words.core, words.core_line),
            _text(795, 132, words.core_verdict, BLUE, bold=True),
            _box(640, 245, 310, 66, words.hall, words.hall_line),
            _text(795, 337, words.hall_down, VERMILLION, bold=True),
            _text(795, 361, words.hall_up, BLUE, bold=True),
            _text(795, 389, words.hall_verdict, GREY),
            _arrow(640, 62, 172, 205, BLUE, 8),
            _arrow(172, 217, 640, 84, BLUE, 4),
            _text(250, 148, f"{words.download} 200", BLUE),
            _arrow(640, 268, 172, 228, VERMILLION, 4, dashed=True),
            _arrow(172, 242, 640, 290, BLUE, 4),
            _text(250, 222, f"{words.download} 80", VERMILLION),
            _text(250, 278, f"{words.upload} 80", BLUE),
        ],
    )


def _svg(width: int, height: int, parts: list[str]) -> str:
    heads = "".join(
        f'<marker id="head{color[1:]}" markerUnits="userSpaceOnUse" markerWidth="16" markerHeight="16" refX="14"'
        f' refY="8" orient="auto"><path d="M0,0 L16,8 L0,16 z" fill="{color}"/></marker>'
        for color in (BLUE, VERMILLION)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="Sarabun, Noto Sans Thai, Loma, sans-serif" font-size="15">\n'
        f'<defs>{heads}</defs>\n<rect width="{width}" height="{height}" fill="{PAPER}"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _box(x: int, y: int, width: int, height: int, title: str, below: str) -> str:
    middle = x + width // 2
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f4f6f8" stroke="{INK}"'
        ' stroke-width="1.5"/>'
        + _text(middle, y + height // 2 - 4, title, INK, bold=True)
        + _text(middle, y + height // 2 + 18, below, GREY)
    )


def _cloud(x: int, y: int, width: int, height: int, title: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="60" fill="#eef5fa" stroke="{GREY}"'
        f' stroke-dasharray="6 5"/>' + _text(x + width // 2, y - 12, title, GREY)
    )


def _text(x: int, y: int, words: str, color: str, *, bold: bool = False) -> str:
    weight = ' font-weight="700"' if bold else ""
    return f'<text x="{x}" y="{y}" text-anchor="middle" fill="{color}"{weight}>{words}</text>'


def _arrow(x1: int, y1: int, x2: int, y2: int, color: str, width: int, *, dashed: bool = False) -> str:
    dash = ' stroke-dasharray="10 6"' if dashed else ""
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{color}" stroke-width="{width}"{dash}'
        f' marker-end="url(#head{color[1:]})"/>'
    )


def drawings() -> dict[Path, str]:
    """Every drawing, by its file."""
    return {FOLDER / f"responder-place-{language}.svg": responder_place(words) for language, words in WORDS.items()}


def main(arguments: list[str]) -> int:
    """Returns 0 when all is well and 1 when ``--check`` found a difference."""
    different = 0
    for path, text in drawings().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if "--check" in arguments:
            different = 1
            print(f"{path.name}: differs from what the code draws; run make docs", file=sys.stderr)
        else:
            path.write_text(text, encoding="utf-8")
    return different


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
