"""What was measured: medians, spread and ratios as a table, JSON, Markdown and SVG."""

import json
import statistics

CEILING = "bare loop"
OURS = "ashlar"


def measure(row, rounds, say):
    """Every contender once a round, in turns, so that what disturbs one disturbs the next as well."""
    row["values"] = {name: [] for name in row["contenders"]}
    for number in range(rounds):
        names = list(row["contenders"])
        for name in names[number % len(names):] + names[:number % len(names)]:
            say(f"{row['name']}: {name}, round {number + 1} of {rounds}")
            row["values"][name].append(row["contenders"][name]())
    del row["contenders"]
    row["medians"] = {name: statistics.median(values) for name, values in row["values"].items()}
    row["spread"] = {name: (max(values) - min(values)) / row["medians"][name] if row["medians"][name] else 0
                     for name, values in row["values"].items()}
    row["results"] = [judge(row, against, bar) for against, bar in row["bars"]]
    return row


def reference(row, against, number):
    """The value of that round that ours is compared with."""
    if against != "best peer":
        return row["values"][against][number]
    peers = [values[number] for name, values in row["values"].items() if name not in (OURS, CEILING)]
    return max(peers) if row["higher_is_better"] else min(peers)


def judge(row, against, bar):
    """The median over the rounds of ours / theirs; at least the bar where higher is better, else at most."""
    ratios = [ours / reference(row, against, number) for number, ours in enumerate(row["values"][OURS])]
    ratio = statistics.median(ratios)
    met = ratio >= bar if row["higher_is_better"] else ratio <= bar
    return {"against": against, "ratio": ratio, "ratios": ratios, "bar": bar, "met": met}


def number(value, unit):
    if unit == "B/s":
        return f"{value / 1e6:,.0f} MB/s"
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value:,.2f} {unit}".strip()


def lines(rows):
    """A text table, a block a row."""
    for row in rows:
        yield row["name"]
        for name, median in row["medians"].items():
            value = number(median, row["unit"])
            yield f"    {name:24} {value:>14}   spread {100 * row['spread'][name]:.0f} %"
        for result in row["results"]:
            sign = ">=" if row["higher_is_better"] else "<="
            word = "met" if result["met"] else "MISSED"
            yield f"    {result['ratio']:.2f} x {result['against']}, bar {sign} {result['bar']:.2f}: {word}"


def markdown(rows):
    yield "| work | ashlar | best of the others | bare | ratio | bar | |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        others = {n: m for n, m in row["medians"].items() if n not in (OURS, CEILING)}
        choose = max if row["higher_is_better"] else min
        best = choose(others, key=others.get) if others else None
        sign = "≥" if row["higher_is_better"] else "≤"
        results = row["results"]
        cells = [row["name"], number(row["medians"][OURS], row["unit"]),
                 f"{number(others[best], row['unit'])} ({best})" if best else "",
                 number(row["medians"][CEILING], row["unit"]) if CEILING in row["medians"] else "",
                 "; ".join(f"{r['ratio']:.2f} × {r['against']}" for r in results),
                 "; ".join(f"{sign} {r['bar']:.2f}" for r in results),
                 "met" if all(r["met"] for r in results) else "**missed**"]
        yield "| " + " | ".join(cells) + " |"


def svg(row):
    """Bars of the medians, with a dot at each round's value."""
    width, bar, left = 640, 26, 180
    scale = (width - left - 110) / (max(max(values) for values in row["values"].values()) or 1)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{40 + bar * len(row["medians"])}" '
           f'font-family="sans-serif" font-size="13">',
           f'<text x="8" y="20" font-weight="bold">{row["name"]}</text>']
    for i, (name, median) in enumerate(row["medians"].items()):
        y = 34 + i * bar
        values = row["values"][name]
        colour = "#2b6cb0" if name == OURS else "#a0aec0"
        out.append(f'<text x="8" y="{y + 14}">{name}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{median * scale:.1f}" height="18" fill="{colour}"/>')
        out += [f'<circle cx="{left + v * scale:.1f}" cy="{y + 9}" r="2"/>' for v in values]
        out.append(f'<text x="{left + max(values) * scale + 6:.1f}" y="{y + 14}">'
                   f'{number(median, row["unit"])}</text>')
    return "\n".join(out + ["</svg>"]) + "\n"


def write(rows, folder, about):
    """results.json, results.md and a plot a row."""
    with open(f"{folder}/results.json", "w", encoding="utf-8") as file:
        json.dump({"about": about, "rows": rows}, file, indent=2)
    with open(f"{folder}/results.md", "w", encoding="utf-8") as file:
        file.write("\n".join(markdown(rows)) + "\n")
    for i, row in enumerate(rows):
        with open(f"{folder}/{i:02}.svg", "w", encoding="utf-8") as file:
            file.write(svg(row))
