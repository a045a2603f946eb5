"""Tables, and a drawing of their first columns."""

import html
import statistics


def middle(runs, column):
    values = [run[column] for run in runs]
    return sum(values) if column.total else statistics.median(values)


def ratio(runs, base, column):
    """The median of the ratios within each round, with the least and the most."""
    pairs = [(ours[column], theirs[column]) for ours, theirs in zip(runs, base)]
    if not pairs or not all(theirs for _, theirs in pairs):
        return "–"
    ratios = [ours / theirs for ours, theirs in pairs]
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if runs is not base and len(ratios) > 1 else ""
    return f"{statistics.median(ratios):.2f}{spread}"


def ranked(runs):
    """The names of a shape's rows, the least of the first column first."""
    column = next(iter(next(iter(runs.values()))[0]))
    return column, sorted(runs, key=lambda name: middle(runs[name], column))


def table(shape, base, runs):
    """The lines of a table in Markdown."""
    _, names = ranked(runs)
    columns = list(runs[names[0]][0])
    titles = [title for column in columns for title in ([column.title, f"to {base}"] if column.ratio else [column.title])]
    lines = ["", f"### {shape}", "", f"| | {' | '.join(titles)} |", "|---" * (len(titles) + 1) + "|"]
    for name in names:
        cells = [name]
        for column in columns:
            cells.append(format(middle(runs[name], column), column.form))
            if column.ratio:
                cells.append(ratio(runs[name], runs.get(base, ()), column))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def plot(results):
    """An SVG with a bar for each row, by its first column; each shape has a scale of its own."""
    left, width, step, parts, y = 170, 460, 18, [], 0
    for shape, runs in results.items():
        column, names = ranked(runs)
        y += step * 2
        parts.append(f'<text x="8" y="{y}" font-weight="bold">{html.escape(f"{shape}: {column.title}")}</text>')
        most = max(middle(runs[name], column) for name in names) or 1
        for name in names:
            y += step
            value = middle(runs[name], column)
            fill = "#2a7f9e" if runs[name] is runs.get("tidegate") else "#b8b8b8"
            parts.append(f'<text x="{left - 8}" y="{y}" text-anchor="end">{html.escape(name)}</text>')
            parts.append(f'<rect x="{left}" y="{y - 11}" width="{max(width * value / most, 0):.1f}" height="13" fill="{fill}"/>')
            parts.append(f'<text x="{left + 6 + max(width * value / most, 0):.1f}" y="{y}">{value:{column.form}}</text>')
    size = f'width="{left + width + 80}" height="{y + step}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12"><rect {size} fill="white"/>{"".join(parts)}</svg>\n'
