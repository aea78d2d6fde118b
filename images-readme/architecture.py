"""Draw the architecture for the READMEs: light and dark, in English and in Portuguese. Part of ``make pictures``."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
WIDTH, HEIGHT = 980, 330
FONT = "ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Palette:
    """Colours of one theme; ``layers``: a border for each box, from source to gold."""

    ground: str
    box: str
    text: str
    quiet: str
    layers: tuple[str, str, str, str]


PALETTES = {
    "light": Palette("#ffffff", "#f6f8fa", "#1f2328", "#59636e", ("#59636e", "#a5581b", "#6e7781", "#9a6700")),
    "dark": Palette("#0d1117", "#161b22", "#f0f6fc", "#9198a1", ("#9198a1", "#d9834a", "#b8c0c8", "#d4a72c")),
}

Box = tuple[str, tuple[str, ...]]
WORDS: dict[str, tuple[tuple[Box, ...], tuple[str, ...], tuple[str, ...], str]] = {
    "en": (
        (
            ("source", ("Supabase", "PostgreSQL", "CSV, Parquet", "the sample shop")),
            ("bronze", ("bucket", "raw Parquet snapshots", "a manifest commits each", "never overwritten")),
            ("silver", ("clientes", "produtos", "pedidos", "quarantine, with reasons")),
            ("gold", ("analise_clientes_pedidos", "analise_produtos", "", "")),
        ),
        ("≤ 100,000 rows", "≤ 10,000 rows", "≤ 10,000 rows"),
        ("135 nothing new", "357 nothing to clean", "579 nothing differs"),
        "every layer writes to the run ledger; one run at a time; every two months",
    ),
    "pt-BR": (
        (
            ("origem", ("Supabase", "PostgreSQL", "CSV, Parquet", "a loja de exemplo")),
            ("bronze", ("bucket", "snapshots Parquet brutos", "um manifesto em cada um", "nunca sobrescritos")),
            ("silver", ("clientes", "produtos", "pedidos", "quarentena, com motivos")),
            ("gold", ("analise_clientes_pedidos", "analise_produtos", "", "")),
        ),
        ("≤ 100.000 linhas", "≤ 10.000 linhas", "≤ 10.000 linhas"),
        ("135 nada de novo", "357 nada a limpar", "579 nada difere"),
        "toda camada grava no livro de execuções; uma execução por vez; a cada dois meses",
    ),
}
KEYS = (246, 468, 680)


def drawn(language: str, palette: Palette) -> str:
    """The picture as SVG."""
    boxes, limits, ends, foot = WORDS[language]
    width, gap, top, height = 185, 65, 60, 150
    left = (WIDTH - 4 * width - 3 * gap) // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}" role="img">',
        f"<title>{escape(' → '.join(name for name, _ in boxes))}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{palette.ground}"/>',
    ]

    def text(x: int, y: int, words: str, *, size: int = 13, colour: str = palette.text, weight: int = 400) -> None:
        parts.append(
            f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
            f'text-anchor="middle">{escape(words)}</text>'
        )

    for number, (name, lines) in enumerate(boxes):
        x, border = left + number * (width + gap), palette.layers[number]
        parts.append(
            f'<rect x="{x}" y="{top}" width="{width}" height="{height}" rx="10" fill="{palette.box}" '
            f'stroke="{border}" stroke-width="2"/>'
        )
        text(x + width // 2, top + 30, name, size=18, colour=border, weight=700)
        for row, line in enumerate(lines):
            text(x + width // 2, top + 58 + 22 * row, line)
    for number, (limit, end) in enumerate(zip(limits, ends, strict=True)):
        start = left + (number + 1) * width + number * gap
        middle, y = start + gap // 2, top + height // 2
        parts.append(
            f'<path d="M{start + 8} {y}h{gap - 22}" stroke="{palette.quiet}" stroke-width="2"/>'
            f'<path d="M{start + gap - 16} {y - 6}l10 6l-10 6z" fill="{palette.quiet}"/>'
        )
        text(middle, top - 16, limit, size=12, colour=palette.quiet)
        layer = left + (number + 1) * (width + gap) + width // 2
        text(layer, top + height + 30, f"{KEYS[number]} →" if number < 2 else f"{KEYS[number]} ✓", size=15, weight=700)
        text(layer, top + height + 52, end, size=12, colour=palette.quiet)
    text(WIDTH // 2, HEIGHT - 18, foot, size=12, colour=palette.quiet)
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Draw all four."""
    for language in WORDS:
        for theme, palette in PALETTES.items():
            (HERE / f"architecture-{language}-{theme}.svg").write_text(drawn(language, palette), encoding="utf-8")


if __name__ == "__main__":
    main()
