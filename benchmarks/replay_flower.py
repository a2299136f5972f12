"""The workload of `workload.py` in Flower's simulation engine; run by `replay.py`.

    PYTHON benchmarks/replay_flower.py NETWORK CLIENTS ROUNDS FOLDER

PYTHON is an interpreter with flwr[simulation] and torch, but needs nothing of this package. Prints
the seconds of each round as its last line. A node's local training is the plain loop's.
"""

import copy
import itertools
import json
import os
import sys
import time

# Read at import: nothing is to be sent anywhere.
os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}

import workload
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

CLIENTS, ROUNDS = int(sys.argv[2]), int(sys.argv[3])
WORK = sys.argv[1], CLIENTS, ROUNDS, sys.argv[4] or None


client = ClientApp()


@client.train()
def train(message, context):
    work = workload.load_work(*WORK)
    module = copy.deepcopy(work.module)
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    number = message.content["config"]["server-round"] - 1
    (batches,) = work.batches(number, [context.node_config["partition-id"]])
    workload.train_plain(module, work.train, batches)
    content = {
        "arrays": ArrayRecord(module.state_dict()),
        "metrics": MetricRecord({"num-examples": workload.HELD}),
    }
    return Message(content=RecordDict(content), reply_to=message)


server = ServerApp()
times = []


@server.main()
def serve(grid, context):
    work = workload.load_work(*WORK)
    module = copy.deepcopy(work.module)

    def evaluate(number, arrays):
        if number and number % workload.EVALUATE_EVERY == 0:
            module.load_state_dict(arrays.to_torch_state_dict())
            print("accuracy", work.evaluate(module), file=sys.stderr)
        times.append(time.perf_counter())

    FedAvg(fraction_train=CLIENTS / workload.CLIENTS, fraction_evaluate=0.0).start(
        grid=grid,
        initial_arrays=ArrayRecord(module.state_dict()),
        num_rounds=ROUNDS,
        evaluate_fn=evaluate,
    )


if __name__ == "__main__":
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=workload.CLIENTS,
        backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
    )
    print(json.dumps([after - before for before, after in itertools.pairwise(times)]))
