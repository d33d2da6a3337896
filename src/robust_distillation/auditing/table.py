"""Robust accuracies as a table, out of what `Report.to_dict` gives; imports nothing heavy."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

SMOOTHING = "smoothing"  # the row that has certificates


def accuracies(rows: Mapping[str, Any]) -> Table:
    """Return what stands, a row for each model and for the whole defence, and the flags that are raised."""
    victims = [name for name, values in rows.items() if isinstance(values, Mapping) and "worst_case" in values]
    epsilons = list(rows[victims[0]]["worst_case"])
    table = Table("worst case over attacks", "clean", *epsilons, title=f"{rows['images']} images under attack")
    for name in victims:
        worst = rows[name]["worst_case"]
        shares = (rows[name]["clean"], *(worst[epsilon] for epsilon in epsilons))
        table.add_row(name, *map(share, shares), end_section=name == victims[-1])
    if success := rows.get("attack_success"):
        table.add_row("harmed by an attack", "", *(share(success[epsilon]) for epsilon in epsilons))
    raised = [name for name, value in rows["flags"].items() if value]
    table.caption = f"cannot be trusted: {', '.join(raised)}" if raised else "no reliability flag is raised"
    return table


def comparison(rows: Mapping[str, Any], costs: Mapping[str, Any], certified: Mapping[str, Any]) -> Table:
    """Return what stands of each defence, by ball, without and with knowledge of it; `certified` by name and radius."""
    first = next(iter(rows.values()))
    columns = [(ball, attack) for ball, shares in first.items() if isinstance(shares, Mapping) for attack in shares]
    radii = list(next(iter(certified.values()))) if certified else []
    table = Table()
    table.add_column("defence", no_wrap=True)
    for title in ("clean", *(f"{attack}\n{ball}" for ball, attack in columns)):
        table.add_column(title)
    for title in (f"certified\nl2 {', '.join(radii)}", "ms an\nimage", "minutes\nto train"):
        table.add_column(title)
    for name, values in rows.items():
        cost = costs.get(name, {})
        table.add_row(
            name,
            share(values["clean"]),
            *(share(values[ball][attack]) for ball, attack in columns),
            ", ".join(share(certified[name][radius]) for radius in radii) if name in certified else "",
            *(f"{cost[key]:.2g}" if cost.get(key) is not None else "" for key in ("milliseconds", "train_minutes")),
        )
    return table


def share(value: float | None) -> str:
    """Write a share with two decimals; `none` where it is not defined."""
    return "none" if value is None else f"{value:.2f}"
