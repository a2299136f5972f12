"""How backend `prices` grows with the fleet, from a thousand devices to a million.

Each fleet is drawn, solved and checked in a process of its own, the smallest twice, so that nobody
pays for compiling. Prints a line a fleet, the exponents of the fits of time and gap, and what one
price table costs beside what it must do: read the fleet once, and weigh every session with its
iterations. See README.md beside this file.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

import mafl_opt as mo
from mafl_opt.solvers.prices.fleet.arcs import Table
from mafl_opt.solvers.prices.fleet.arrays import fleet_of, tasks_of
from mafl_opt.solvers.prices.fleet.oracle import Oracle

SIZES = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)


def price_pass(scenario, fading):
    """Seconds of a price table over all devices, of reading them; sessions and counts a device."""
    tasks, fleet = tasks_of(scenario), fleet_of(scenario)
    if not fading:
        still = {
            name: np.repeat(getattr(fleet, name)[:, :1], scenario.num_slots, axis=1)
            for name in ("up_rate", "down_rate")
        }
        fleet = fleet._replace(**still)
    oracle = Oracle(fleet, tasks, strata=[(fleet.size, 1.0)], groups=20, accuracy=1e-9)
    # Prices at which about one device in ten acts.
    progress = tasks.weight * tasks.start / (0.003 * 10 * tasks.cap) ** 2
    shape = (tasks.capacity.size, tasks.bits.size)
    table = Table(
        error=np.sqrt(progress), progress=progress, uplink=np.zeros(shape[0]), step=np.zeros(shape)
    )
    oracle.ask(table, rounds=1)
    begin = time.perf_counter()
    oracle.ask(table, rounds=1)
    asked = time.perf_counter() - begin
    oracle.close()
    begin = time.perf_counter()
    for array in fleet:
        array.sum()
    read = time.perf_counter() - begin
    arcs = sum(
        min(shape[0] - r, int(stale) + 1) * int(most)
        for r in range(shape[0])
        for stale, most in zip(tasks.most_stale, tasks.most_iterations, strict=True)
    )
    return asked, read, arcs


def run(devices, gap, limit, alike):
    """Solve one fleet; prints its figures as JSON."""
    begin = time.perf_counter()
    scenario = mo.Scenario.draw(devices=devices, tasks=3, slots=20, seed=0)
    if alike:
        scenario = scenario.replace(energy_weight=scenario.energy_weight * 10 / devices)
    drawn = time.perf_counter() - begin
    begin, busy = time.perf_counter(), time.process_time()
    plan = mo.solve(scenario, backend="prices", gap=gap, time_limit=limit)
    wall, cpu = time.perf_counter() - begin, time.process_time() - busy
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report = mo.check(scenario, plan, certificate=False)
    if not report.ok:
        sys.exit(f"{devices} devices: the plan fails its check\n{report}")
    passes = {
        name: price_pass(scenario, fading) for name, fading in (("fading", True), ("still", False))
    }
    print(json.dumps({
        "devices": devices, "objective": report.objective, "bound": plan.bound,
        "gap": (report.objective - plan.bound) / report.objective, "ended": str(plan.termination),
        "drawn_s": drawn, "wall_s": wall, "cpu_s": cpu, "mib": memory,
        "tables": len(plan.certificate["prices"]), "passes": passes,
    }))  # fmt: skip


def exponent(rows, name):
    """Slope of a figure over the number of devices, in logarithms."""
    x, y = np.log([row["devices"] for row in rows]), np.log([row[name] for row in rows])
    return float(np.polyfit(x, y, 1)[0])


def main():
    """Solve all sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--gap", type=float, default=1e-3)
    parser.add_argument("--limit", type=float, default=590.0)
    parser.add_argument(
        "--alike", action="store_true",
        help="energy costs 10 / devices of what it does, so that the same part of every fleet acts",
    )  # fmt: skip
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        run(given.one, given.gap, given.limit, given.alike)
        return
    rows = []
    for devices in (given.sizes[0], *given.sizes):
        command = [sys.executable, __file__, "--one", str(devices), "--gap", str(given.gap)]
        command += ["--alike"] * given.alike
        out = subprocess.run([*command, "--limit", str(given.limit)], stdout=subprocess.PIPE)
        if out.returncode:
            sys.exit(out.returncode)
        rows.append(json.loads(out.stdout))
    rows = rows[1:]
    print(
        f"{'devices':>9s}{'wall s':>8s}{'CPU s':>8s}{'MiB':>7s}{'tables':>7s}{'gap %':>8s}  ended"
    )
    for row in rows:
        print(
            f"{row['devices']:9d}{row['wall_s']:8.1f}{row['cpu_s']:8.1f}{row['mib']:7.0f}"
            f"{row['tables']:7d}{100 * row['gap']:8.4f}  {row['ended']}"
        )
    if len(rows) > 1:
        for name in ("wall_s", "cpu_s", "gap"):
            print(f"{name} grows like devices^{exponent(rows, name):.2f}")
    print("one price table, wall:")
    for row in rows:
        for name, (asked, read, arcs) in row["passes"].items():
            print(
                f"{row['devices']:9d} {name:6s} {asked:8.3f} s, "
                f"{1e6 * asked / row['devices']:6.2f} us a device, "
                f"{1e9 * asked / row['devices'] / arcs:5.1f} ns a session and iteration count, "
                f"{asked / read:6.0f} times reading the fleet"
            )


if __name__ == "__main__":
    main()
