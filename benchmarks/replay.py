"""How fast sessions train: the workload of `workload.py` in several ways, all in one run.

    python benchmarks/replay.py [--data FOLDER] [--models cnn,mlp,logistic] [--clients 10,50]
        [--rounds 20] [--repeats 3] [--threads 1] [--flower PYTHON]

Ways take turns, so that whatever else the machine does meets all of them. See README.md beside
this file for how to read the tables. Ends with an error when ways disagree.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import workload

import mafl_opt as mo
from mafl_opt.validation.replay import ReplayOptions

WAYS = {
    "plain": workload.run_plain,
    "lean": workload.run_lean,
    "alone": workload.run_alone,
    "batched": workload.run_batched,
}
#: Fleets of the second table: devices, tasks, slots, seed.
FLEETS = ((10, 3, 12, 0), (40, 3, 12, 0), (40, 3, 12, 1))
#: The same steps in float64, sums in another order.
AGREED = 1e-10


def timed(function, *arguments):
    """Call; return CPU seconds of this process, wall seconds and the result."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function(*arguments)
    return time.process_time() - cpu, time.perf_counter() - wall, result


def check_agreement(images):
    """Stop unless all ways give the same model in float64."""
    for name in workload.MODELS:
        work = workload.Workload(name, 10, 5, *images, dtype=torch.float64)
        models = [way(work) for way in WAYS.values()]
        worst = max(float((model - models[0]).abs().max()) for model in models[1:])
        print(f"{name:9s} five rounds of 10 clients in float64: ways differ by {worst:.1e}")
        if not worst < AGREED:
            sys.exit("the ways disagree")


def measure(work, repeats):
    """Best CPU and wall seconds of each way."""
    with workload.TwoProcesses(work) as two:
        ways = {**WAYS, "lean, 2 processes": two}
        best = {way: (np.inf, np.inf) for way in ways}
        for _ in range(repeats):
            for way, run in ways.items():
                best[way] = tuple(np.minimum(best[way], timed(run, work)[:2]))
    return best


def measure_flower(python, work, folder):
    """Wall seconds of Flower's simulation engine: of its later rounds, and from start to end."""
    script = Path(__file__).with_name("replay_flower.py")
    arguments = [work.name, str(work.clients), str(work.rounds), folder or ""]
    start = functools.partial(subprocess.run, capture_output=True, text=True)
    _, wall, run = timed(start, [python, script, *arguments])
    if run.returncode:
        sys.exit(f"{script.name} failed\n{run.stderr[-2000:]}")
    rounds = json.loads(run.stdout.splitlines()[-1])
    return float(np.median(rounds[1:])) * work.rounds, wall


def compare_ways(arguments, images):
    """Print a line for each network, number of clients and way."""
    print(f"\n{'network':9s} clients  {'way':20s}   CPU s  wall s   plain / this: CPU, wall")
    for name in arguments.models.split(","):
        for clients in map(int, arguments.clients.split(",")):
            work = workload.Workload(name, clients, arguments.rounds, *images)
            best = measure(work, arguments.repeats)
            if arguments.flower:
                steady, whole = measure_flower(arguments.flower, work, arguments.data)
                best["Flower, later rounds"] = np.nan, steady
                best["Flower, with start"] = np.nan, whole
            for way, seconds in best.items():
                # CPU time is that of this process: it says nothing where others work.
                cpu, wall = seconds if way in WAYS else (np.nan, seconds[1])
                ratios = np.array(best["plain"]) / (cpu, wall)
                print(
                    f"{name:9s}{clients:8d}  {way:20s}{cpu:8.3f}{wall:8.3f}"
                    f"{ratios[0]:19.2f}{ratios[1]:6.2f}",
                    flush=True,
                )


def compare_replays(repeats):
    """Print how long replays of plans take, whose sessions differ in mini-batch and steps."""
    print("\nreplays of greedy plans, tested at start and end only: CPU seconds alone, batched")
    for devices, tasks, slots, seed in FLEETS:
        scenario = mo.Scenario.draw(devices=devices, tasks=tasks, slots=slots, seed=seed)
        plan = mo.solve(scenario, "greedy")
        best = {}
        for _ in range(repeats):
            for batched in (False, True):
                options = ReplayOptions(batched=batched, evaluate_every=slots)
                run = functools.partial(mo.replay, scenario, plan, options=options)
                best[batched] = min(timed(run)[0], best.get(batched, np.inf))
        sizes, steps = plan.sessions.batch_size, plan.sessions.iterations
        print(
            f"{devices:3d} devices {tasks} tasks {slots} slots seed {seed}: {len(sizes):4d} "
            f"sessions, B {sizes.min()}..{sizes.max()}, l {steps.min()}..{steps.max()}: "
            f"{best[False]:.2f}, {best[True]:.2f}, ratio {best[False] / best[True]:.2f}",
            flush=True,
        )


def main():
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with MNIST's t10k files; else images are drawn")
    parser.add_argument("--models", default=",".join(workload.MODELS))
    parser.add_argument("--clients", default="10,50")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of torch in this process")
    parser.add_argument(
        "--flower", metavar="PYTHON", help="interpreter of an environment with flwr"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    images = workload.load_images(arguments.data)
    check_agreement(images)
    compare_ways(arguments, images)
    compare_replays(arguments.repeats)


if __name__ == "__main__":
    main()
