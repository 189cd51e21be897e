"""mosec: one worker process, raw little-endian floats in and out, which is what it does best.

Arguments: MODEL.pt COLUMNS PORT MAX_BATCH."""

import os
import sys
from pathlib import Path

import mosec
import mosec.runtime
import numpy
import torch
from mosec import Server, Worker

# The worker processes read this file anew, after the command line was changed below.
ARGUMENTS = os.environ.setdefault("SERIN_BENCH", "\n".join(sys.argv[1:])).split("\n")
MODEL, COLUMNS, PORT, MAX_BATCH = ARGUMENTS[0], int(ARGUMENTS[1]), ARGUMENTS[2], int(ARGUMENTS[3])


class Model(Worker):
    def __init__(self):
        super().__init__()
        torch.set_num_threads(1)
        self.model = torch.jit.load(MODEL)
        for rows in (1, MAX_BATCH):
            for _ in range(3):
                self.rows(torch.zeros(rows, COLUMNS))

    def deserialize(self, data):
        return numpy.frombuffer(data, dtype=numpy.float32)

    def serialize(self, data):
        return data.tobytes()

    def rows(self, x):
        with torch.inference_mode():
            return self.model(x).numpy()

    def forward(self, data):
        if MAX_BATCH == 1:
            return self.rows(torch.from_numpy(data.reshape(1, -1)))[0]
        return list(self.rows(torch.from_numpy(numpy.stack(data))))


if __name__ == "__main__":
    # It looks for its program where Python's own are, and these packages are in a folder of their own.
    program = Path(mosec.__file__).parent.parent / "bin" / "mosec"
    mosec.runtime.get_mosec_path = lambda: program
    # It reads its own options from the command line.
    sys.argv = [sys.argv[0], "--port", PORT, "--address", "127.0.0.1", "--log-level", "error"]
    os.environ.setdefault("MOSEC_LOG_LEVEL", "error")
    server = Server()
    # The shortest wait that it takes, in milliseconds.
    server.append_worker(Model, num=1, max_batch_size=MAX_BATCH, max_wait_time=1)
    server.run()
